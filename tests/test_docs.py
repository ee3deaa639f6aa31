"""What the documentation tells people to type exists, and so do the files it points to."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from soar.cli import COMMANDS
from soar.rollout.station_config import StationConfig

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PRESENT = [p for p in PAGES if p.name != "log.md"]
"""Pages about the present version; an entry of the log names commands of its own day."""


def commands(page: Path) -> list[str]:
    """Lines of code blocks, and quoted pieces, that begin with `soar `, without their comments."""
    text = page.read_text().replace("\\\n", " ")
    lines = re.findall(r"^\s*(?:\$ )?(soar [a-z].*)$", text, re.MULTILINE)
    lines += re.findall(r"`(soar [a-z][^`|]*)`", text)
    whole = [line.split(" #")[0] for line in lines]
    return [re.sub("^(?!soar )", "soar ", part) for line in whole for part in line.split(" -- ")]


@pytest.mark.parametrize("page", PRESENT, ids=lambda p: p.name)
def test_commands_in_the_docs_exist_with_their_flags(
    page: Path, help_of: Callable[[str], str]
) -> None:
    for line in commands(page):
        words = line.split()[1:]
        name = next((c for n in (2, 1) if (c := " ".join(words[:n])) in COMMANDS), None)
        if name is None:
            assert words[0] in {c.split()[0] for c in COMMANDS}, f"{page.name}: {line}"
            continue
        flags = {w.split("=")[0] for w in words if w.startswith("--")}
        if flags:
            shown = re.findall(r"--[\w.-]+", help_of(name))
            assert flags <= set(shown), f"{page.name}: {line}"


def test_extras_that_are_named_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    others = [ROOT / "Dockerfile", ROOT / "Makefile", *(ROOT / "src" / "soar").rglob("*.py")]
    for path in [*PAGES, *others]:
        for extras in re.findall(r"(?:soar-robot|[\"' ]\.)\[([a-z,]+)\]", path.read_text()):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), path


def test_every_key_of_a_station_file_is_explained() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    table = page[page.index("| key of a station |") :].split("\n\n")[0]
    explained = set(re.findall(r"`(\w+)`", table))
    assert {f.name for f in fields(StationConfig)} <= explained


@pytest.mark.parametrize("page", PRESENT, ids=lambda p: p.name)
def test_files_that_the_docs_name_are_there(page: Path) -> None:
    named = re.findall(
        r"\b((?:docs|examples|benchmarks|src|tests|scripts)/[\w/.-]+\.\w+)", page.read_text()
    )
    assert not [name for name in named if not (ROOT / name).exists()]
