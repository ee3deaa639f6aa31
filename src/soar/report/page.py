"""`write_report`: one HTML page about a run of improvement or a collection of episodes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from soar.evaluation.plots import format_points
from soar.report.facts import Facts, Section, day, join_names, read_facts, summarize
from soar.report.process_sections import (
    collection,
    faults,
    finetuning,
    provenance,
    training,
    verdicts,
)
from soar.report.result_sections import duration, pairs, quality, rounds, success
from soar.utils.files import short_name, write_bytes

PARTS: tuple[Callable[[Facts], Section | None], ...] = (
    success, pairs, rounds, collection, verdicts, finetuning, training, faults, provenance,
)  # fmt: skip
"""Makers of the sections, in order; each returns None where its part doesn't exist."""


def write_report(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a run, finished or not, or of an episode store.

    Args:
        folder: folder of the run or store.
        path: file to write; FOLDER/report.html if None.

    Returns:
        The file.

    Raises:
        ConfigError: the folder is neither a run nor a store, or a file of it is damaged.
        FileError: the page can't be written.
        StoreError: the store can't be read.
    """
    facts, target = read_facts(folder), path or folder / "report.html"
    page = render(
        title=facts.run.record.title if facts.run else f"Episodes in {short_name(folder)}",
        kicker=_kicker(facts),
        lead=summarize(facts),
        tiles=_tiles(facts),
        sections=[s for part in PARTS if (s := part(facts)) is not None],
        folder=short_name(folder),
    )  # fmt: skip
    write_bytes(target, page.encode())
    return target


def render(
    *,
    title: str,
    kicker: str,
    lead: str,
    tiles: Sequence[tuple[str, ...]],
    sections: Sequence[Section],
    folder: str,
) -> str:
    """Return a page.

    Args:
        title: title.
        kicker: line above it.
        lead: first paragraph.
        tiles: numbers with their labels, and optionally their kind.
        sections: sections.
        folder: name of the folder that it is about.
    """
    page = _environment().get_template("page.html")
    return page.render(
        title=title, kicker=kicker, lead=lead, tiles=tiles, sections=sections, folder=folder
    )


def _environment() -> Environment:
    loader = PackageLoader("soar.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["base64"] = lambda data: b64encode(data).decode()
    return environment


def _kicker(facts: Facts) -> str:
    if facts.run:
        record = facts.run.record
        return f"SOAR, scene {', '.join(record.scenes)}, {day(record.started_s)}"
    return f"SOAR, scenes: {join_names(e.provenance.scene for e in facts.episodes) or 'none'}"


def _tiles(facts: Facts) -> list[tuple[str, ...]]:
    tiles: list[tuple[str, ...]] = []
    run, episodes = facts.run, facts.episodes
    for name, evaluation in (("before", run.before), ("after", run.after)) if run else ():
        if evaluation is not None and evaluation.trials:
            tiles.append((f"{evaluation.overall().value:.0%}", f"success {name}"))
    if run and run.comparison is not None:
        change = run.comparison.difference
        tiles.append((format_points(change.value), "points, from the same starts", quality(change)))
    if episodes:
        judged = sum(e.verdict.outcome == "success" for e in episodes)
        tiles.append((str(len(episodes)), "episodes collected autonomously" if run else "episodes"))
        tiles.append((f"{judged / len(episodes):.0%}", "of them judged a success"))
    if run and run.hours:
        tiles.append((duration(3600 * run.hours), "from beginning to end"))
    return tiles
