"""Progress without a terminal: lines with the time left, and nothing else."""

import io
import time
from datetime import timedelta

import pytest
from rich.console import Console
from rich.table import Table

from soar.utils import progress
from soar.utils.progress import ProgressLines, print_table, progress_bar, time_left


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=written, width=40))
    monkeypatch.setattr(ProgressLines, "interval_s", 0.02)
    return written


def wait_for(log: io.StringIO, text: str) -> None:
    ends = time.monotonic() + 10
    while text not in log.getvalue() and time.monotonic() < ends:
        time.sleep(0.01)
    assert text in log.getvalue()


def test_a_long_stage_says_how_far_it_is_and_how_long_it_takes(log: io.StringIO) -> None:
    with progress_bar() as bar:
        task = bar.add_task("trials [x]", total=60, note="success 40%")
        wait_for(log, "trials [x] 0/60, 0:00:0")
        wait_for(log, " so far, success 40%\n")
        for _ in range(3):
            time.sleep(0.01)
            bar.advance(task)
        wait_for(log, "trials [x] 3/60, 0:00:0")
        wait_for(log, " left, success 40%\n")
    said = log.getvalue()
    time.sleep(0.1)
    assert log.getvalue() == said  # it ends with its stage
    assert not [line for line in said.splitlines() if not line.strip()]


def test_a_short_or_hidden_stage_says_nothing(log: io.StringIO) -> None:
    bar = progress_bar()
    bar.disable = True
    with bar:
        bar.add_task("hidden", total=2, note="")
        time.sleep(0.1)
    with progress_bar() as bar:
        bar.update(bar.add_task("done", total=1, note=""), completed=1)
        time.sleep(0.1)
    assert log.getvalue() == ""


def test_the_time_left_of_episodes_that_end_at_once_is_that_of_their_mean_pace() -> None:
    now = 0.0
    bar = progress_bar()
    bar.get_time = lambda: now
    task = bar.add_task("collecting", total=160, note="")
    assert time_left(bar.tasks[0]) is None
    for now in (40.0, 80.0, 120.0):  # 16 robots in lockstep, every 40 s
        bar.advance(task, 16)
        left = time_left(bar.tasks[0])
        assert left == timedelta(seconds=400 - now)


def test_what_an_earlier_run_has_done_is_no_pace() -> None:
    now = 0.0
    bar = progress_bar()
    bar.get_time = lambda: now
    task = bar.add_task("trials", total=100, note="")
    bar.update(task, completed=80)
    now = 10.0
    bar.update(task, completed=90, note="")
    assert time_left(bar.tasks[0]) == timedelta(seconds=10)


def test_a_table_in_a_log_is_not_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table("task", "rate")
    table.add_row("put the spoon " * 8, "0.50")
    print_table(table)
    assert "put the spoon " * 8 in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "40")
    print_table(table)
    assert max(map(len, capsys.readouterr().out.splitlines())) == 40
