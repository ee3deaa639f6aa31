"""Text of others in the terminal: without control characters, and never read as rich's markup."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from soar.cli import main
from soar.cli.data import _table
from soar.cli.status import _latest_events, _station_row
from soar.cli.vlm import _confusions
from soar.collection.status import StationStatus, StatusFolder
from soar.errors import ConfigError
from soar.evaluation.plots import plot_rates
from soar.registry import load_detector, policy_spec, vlm_spec
from soar.types import EpisodeSummary, Provenance, Verdict
from soar.utils.progress import literal, printable
from soar.utils.statistics import Confusion, Interval
from soar.vlm.labels import read_labels, update_label

HOSTILE = "put [/INST] on [/dev/ttyUSB0] [bold]\x1b]0;title\x07\x9b2J\x7f\r\\"


class Folder(StatusFolder):
    """A station's folder with one event."""

    def events(self) -> list[dict[str, Any]]:
        return [{"time_s": 0.0, "station": HOSTILE, "kind": HOSTILE, "message": HOSTILE}]


def rendered(*parts: object) -> str:
    out = io.StringIO()
    console = Console(file=out, width=1000, force_terminal=False)
    for part in parts:
        console.print(part)
    return out.getvalue()


def test_control_characters_become_escapes_and_lines_stay():
    assert printable("a\x1b[2J\x07\n\u202eé") == "a\\x1b[2J\\x07\n\\u202eé"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("chat:m@http://me:PASS@host/v1", "chat:m@http://***@host/v1"),
        ("ws://me:P/A:S@S@host failed", "ws://***@host failed"),
        ("http://PASS@host", "http://***@host"),
        ("chat:m@http://h:80/v1?decoder=chat:m@https://me:PASS@h",
            "chat:m@http://h:80/v1?decoder=chat:m@https://***@h"),
    ],
)  # fmt: skip
def test_passwords_of_addresses_are_never_shown(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    ["chat:m@http://h:8000/v1/a@b", "chat:a@http://h/v1,chat:b@http://i:1/v1", "https://h/a@rev"],
)
def test_addresses_without_a_password_are_shown_as_they_are(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("parse", "name"),
    [
        (vlm_spec, "chat:m@http://me:PASS@host/v1"),
        (vlm_spec, "decisions:m@http://PASS@host/v1"),
        (vlm_spec, "chat:m@http://h/v1?decoder=chat:m@http://me:PASS@h"),
        (policy_spec, "openpi:ws://me:PASS@host:8000"),
        (policy_spec, "openvla:http://me:PASS@host:8000"),
        (load_detector, "robometer:http://me:PASS@host"),
        (load_detector, "roboreward:m@http://me:PASS@host"),
    ],
)
def test_a_name_with_a_password_is_refused_and_not_repeated(parse, name):
    with pytest.raises(
        ConfigError, match="carries a user or password; valid: '#VARIABLE'"
    ) as error:
        parse(name)
    assert "PASS" not in str(error.value)


def test_markup_is_shown_as_it_is():
    text = HOSTILE.rstrip("\\")  # rich shows a backslash at the very end twice
    assert rendered(literal(text)) == printable(text) + "\n"


def test_a_status_shows_text_of_others_and_nothing_of_it_reaches_the_terminal(tmp_path):
    now = time.time()
    status = StationStatus(HOSTILE, HOSTILE, "collecting", now, now, 1, doing=HOSTILE)
    row = _station_row(replace(status, missing=(HOSTILE,)), runs=True)
    table = _table(*row)
    table.add_row(*row.values())
    shown = rendered(table, *_latest_events([Folder(tmp_path, "arm1")]))
    assert shown.count("[/INST] on [/dev/ttyUSB0] [bold]\\x1b]0;title") == 7
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_a_table_of_a_vlm_shows_text_of_others():
    shown = rendered(_confusions("title", {HOSTILE: Confusion()}))
    assert "[/INST]" in shown
    assert "\x1b" not in shown


def test_an_error_with_text_of_others_is_one_line_without_control_characters(capsys):
    with pytest.raises(SystemExit):
        main(["data", "ls", "--store", f"{HOSTILE}\nnext"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "\x1b" not in error
    assert "\\x1b]0;title" in error


def test_a_log_message_that_quotes_others_reaches_the_terminal_without_control_characters():
    code = (
        "import logging; from soar.utils.terminal import log_to_terminal; log_to_terminal(); "
        f"logging.getLogger('x').warning('arm1: %s', {HOSTILE!r})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    assert "arm1: put [/INST]" in shown
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_an_instruction_is_no_formula_of_a_plot_or_a_spreadsheet(tmp_path):
    text = r"=HYPERLINK($\frac{1$)"
    figure = plot_rates({"success": {text: Interval(0.5, 0.4, 0.6)}})
    figure.savefig(tmp_path / "plot.png")
    summary = EpisodeSummary("a", text, 5, Verdict("unknown"), Provenance("s", "dev", "1", 0, 0.0))
    update_label(tmp_path / "labels.csv", summary, True)
    assert "'=HYPERLINK" in (tmp_path / "labels.csv").read_text()
    assert read_labels(tmp_path / "labels.csv") == {"a": True}
