"""A store's data card: what is in it, what its numbers mean, who judged it, and how good it is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from soar.contract.contract import Contract, Numbers
from soar.data.curation.overview import overview
from soar.data.curation.quality import Quality
from soar.data.store.lance import LanceStore
from soar.types import Query
from soar.utils.yaml_files import dump

_TASKS = 50
"""Tasks in the table; the others are counted."""


class Origins(NamedTuple):
    """Numbers of a store's episodes by judge, policy, station and contract."""

    judges: Mapping[str, int]
    policies: Mapping[str, int]
    stations: Mapping[str, int]
    contracts: Mapping[Contract, int]
    first_s: float
    """Unix time of the first episode."""
    last_s: float
    """Unix time of the last one."""
    votes: int
    """Episodes whose verdict combines several judgments."""
    interventions: int
    """Control steps whose action wasn't the policy's choice."""


def origins(store: LanceStore, query: Query) -> Origins:
    """Count origins of the episodes that match; reads every row."""
    summaries = list(store.query(query))
    started = [summary.provenance.started_s for summary in summaries] or [0.0]
    return Origins(
        Counter(summary.verdict.judge or "no one" for summary in summaries),
        Counter(summary.provenance.checkpoint or "unknown" for summary in summaries),
        Counter(summary.provenance.station for summary in summaries),
        Counter(summary.contract for summary in summaries),
        min(started),
        max(started),
        sum(bool(summary.verdict.votes) for summary in summaries),
        sum(summary.interventions for summary in summaries),
    )


def card(
    store: LanceStore, query: Query, name: str, license: str, quality: Quality | None = None
) -> str:
    """Return the card as Markdown, with the front matter that data hubs read.

    Args:
        store: the store.
        query: filter of the episodes.
        name: name of the data set.
        license: its license, as hubs abbreviate it, such as "cc-by-4.0"; "" leaves it to be filled in.
        quality: measures, if they were taken.
    """
    numbers, origin = overview(store, query), origins(store, query)
    outcomes = [
        sum(getattr(t, o) for t in numbers.tasks) for o in ("success", "failure", "unknown")
    ]
    front = {
        "license": license or "unknown",
        "task_categories": ["robotics"],
        "tags": ["soar", "robotics"],
        "pretty_name": name,
    }
    parts = [
        f"---\n{dump(front)}---\n# {name}",
        f"{numbers.episodes} episodes, {numbers.steps} control steps and {numbers.bytes / 1e9:.2f} GB, collected from "
        f"{_date(origin.first_s)} to {_date(origin.last_s)} by {numbers.stations} stations in {numbers.scenes} scenes. "
        f"Success {outcomes[0]}, failure {outcomes[1]}, unknown {outcomes[2]}.",
        "## What the numbers mean\n\n" + "\n\n".join(map(describe, origin.contracts)),
        "## Who judged\n\n" + _counted("judge", origin.judges, numbers.episodes),
        f"{origin.votes} verdicts combine several judgments. A success is what its judge says, unless a person "
        "is named.",
        "## Who acted\n\n" + _counted("policy", origin.policies, numbers.episodes),
        f"In {origin.interventions} control steps a person or an expert chose the action.",
        "## Tasks\n\n" + _tasks(store, query),
    ]
    if quality is not None:
        parts.append("## Quality\n\n" + quality_table(quality))
    return "\n\n".join(parts) + "\n"


def describe(contract: Contract) -> str:
    """Return the meaning of actions, states and images in a few lines."""
    action, state = contract.action, contract.state
    rate = 1 / contract.period_s
    cameras = ", ".join(
        f"{c.name} ({c.width} x {c.height})" if c.width and c.height else c.name
        for c in contract.cameras
    )
    return "\n".join(
        [
            f"- action: {action.reference} {_numbers(action)}; {rate:g} steps per second",
            f"- state: {_numbers(state)}",
            f"- cameras: {cameras}; uint8 RGB",
        ]
    )


def quality_table(quality: Quality) -> str:
    """Return the measures as Markdown."""
    spread = ", ".join(
        f"{name} {bits:.2f}" for name, bits in zip(quality.names, quality.entropy, strict=True)
    )
    copies = sum(len(group) - 1 for group in quality.duplicates)
    return "\n".join(
        [
            f"- {len(quality.episodes)} episodes measured",
            f"- idle share: {quality.idle:.3f} of all control steps",
            f"- action entropy (bits of 5): {spread or 'none'}",
            f"- duplicates: {copies}",
            f"- unreadable files: {len(quality.damaged)}",
        ]
    )


def _numbers(numbers: Numbers) -> str:
    units = f"{numbers.length}, {numbers.angle}"
    gripper = (
        f"; gripper {numbers.gripper.closed:g} closed to {numbers.gripper.open:g} open"
        if numbers.gripper
        else ""
    )
    if numbers.space == "joints":
        return f"joints {', '.join(numbers.joints)} [{numbers.angle}]{gripper}"
    rotation = f"{numbers.rotation}, zero is {numbers.zero_rotation.replace('_', ' ')}"
    return f"{', '.join(numbers.names)} [{units}] in the {numbers.frame} frame; {rotation}{gripper}"


def _counted(head: str, counts: Mapping[str, int], total: int) -> str:
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"| {_cell(name)} | {n} | {n / max(total, 1):.2f} |" for name, n in rows]
    return "\n".join([f"| {head} | episodes | share |", "|---|---|---|", *lines])


def _tasks(store: LanceStore, query: Query) -> str:
    tasks = overview(store, query).tasks
    lines = [
        f"| {_cell(t.instruction)} | {t.attempts} | {t.success} | {t.failure} | {t.unknown} |"
        for t in tasks[:_TASKS]
    ]
    head = ["| instruction | episodes | success | failure | unknown |", "|---|---|---|---|---|"]
    rest = [f"\nand {len(tasks) - _TASKS} other instructions"] if len(tasks) > _TASKS else []
    return "\n".join([*head, *lines, *rest])


def _cell(text: str) -> str:
    """Return text of others for a cell of a table."""
    return " ".join(text.replace("|", "\\|").split()) or "(none)"


def _date(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(unix_s))
