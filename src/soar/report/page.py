"""`write_report`: one HTML page that tells a newcomer what a run did and whether it helped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from soar.evaluation.plots import format_points
from soar.improvement.run import Run
from soar.report import html
from soar.report.facts import Facts, read_facts, sentence
from soar.report.html import Section
from soar.report.process_sections import (
    collection,
    faults,
    imagination,
    provenance,
    training,
    verdicts,
)
from soar.report.result_sections import duration, pairs, rounds, success, tone

PARTS: tuple[Callable[[Facts], Section | None], ...] = (
    success, pairs, rounds, collection, verdicts, imagination, training, faults, provenance,
)  # fmt: skip
"""Each has nothing to say (None) where its part of the run hasn't happened."""


def write_report(run: Run, path: Path | None = None) -> Path:
    """Write the page of a run, finished or not; returns where it is.

    Raises:
        ConfigError: it is no run, or a file of it is damaged.
    """
    facts = read_facts(run)
    sections = [s for part in PARTS if (s := part(facts)) is not None]
    target = path or run.report
    target.write_text(html.page(facts.record.title, _header(facts), sections, _footer(facts)))
    return target


def _header(facts: Facts) -> str:
    record = facts.record
    day = datetime.fromtimestamp(record.started_s, UTC).strftime("%-d %B %Y")
    scenes = ", ".join(record.scenes)
    kicker = html.paragraph(f"SOAR, scene {scenes}, {day}", "kicker")
    return (
        f"{kicker}<h1>{escape(record.title)}</h1>{html.paragraph(sentence(facts), 'lead')}"
        f'<div class="tiles">{"".join(_tiles(facts))}</div>'
    )


def _tiles(facts: Facts) -> list[str]:
    tiles = []
    for name, evaluation in (("before", facts.before), ("after", facts.after)):
        if evaluation is not None and evaluation.trials:
            tiles.append(html.tile(f"{evaluation.overall().value:.0%}", f"success {name}"))
    if facts.comparison is not None:
        change = facts.comparison.difference
        tiles.append(
            html.tile(format_points(change.value), "points, from the same starts", tone(change))
        )
    if facts.episodes:
        judged = sum(e.verdict.outcome == "success" for e in facts.episodes)
        tiles.append(html.tile(str(len(facts.episodes)), "episodes collected by itself"))
        tiles.append(html.tile(f"{judged / len(facts.episodes):.0%}", "of them judged a success"))
    if facts.hours:
        tiles.append(html.tile(duration(3600 * facts.hours), "from beginning to end"))
    return tiles


def _footer(facts: Facts) -> str:
    return html.paragraph(
        f"Made from the folder '{facts.run.folder.name}' by `soar report`. This page needs no other file."
    )
