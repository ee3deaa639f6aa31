"""Sections about a run's results: success before and after, sample trials, and rounds."""

from __future__ import annotations

from collections.abc import Sequence

from soar.evaluation.plots import format_points, plot_rates
from soar.evaluation.results import Comparison, Evaluation, Trial
from soar.evaluation.tables import comparison_summary, summary, task_label
from soar.improvement.run import RoundRecord
from soar.report.facts import Facts, RunFacts, Section
from soar.report.figures import plot_differences, svg
from soar.report.videos import choose_pairs, side_by_side
from soar.utils.statistics import Interval

PAIRS_SHOWN = 6
MANY_TASKS = 10
"""Number of tasks above which bars are per scene, and tasks are in the table only."""


def success(facts: Facts) -> Section | None:
    """Show success rates before and after, and the paired differences."""
    if facts.run is None or facts.run.before is None:
        return None
    before, after, comparison = facts.run.before, facts.run.after, facts.run.comparison
    rates = {"before": _rates(before)} | ({"after": _rates(after)} if after else {})
    content = {
        "plot": svg(plot_rates(rates), "Success before and after"),
        "differences": comparison
        and svg(plot_differences(comparison), "Paired difference per task"),
        "rows": _rate_rows(before) if comparison is None else _difference_rows(comparison),
        "agreement": _agreement([*before.trials, *(after.trials if after else ())]),
    }
    return Section("Success", "success.html", content)


def _agreement(trials: Sequence[Trial]) -> str:
    """Return how often person and detector agreed, where both judged."""
    both = [(t.person, t.detector) for t in trials if t.person and t.detector]
    same = sum(person == detector for person, detector in both)
    return f"Person and detector agreed on {same} of {len(both)} trials." if both else ""


def _rates(evaluation: Evaluation) -> dict[str, Interval]:
    tasks = evaluation.by_task()
    if len(tasks) > MANY_TASKS:
        rates = {f"scene {s}": rate for s, rate in evaluation.by_scene().items()}
    else:
        rates = {task_label(task, evaluation): rate for task, rate in tasks.items()}
    return rates | {"all tasks": evaluation.overall()}


def _rate_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    return [
        (r["instruction"], f"{r['successes']}/{r['trials']}", f"{r['low']:.0%} to {r['high']:.0%}")
        for r in summary(evaluation)["tasks"]
    ]


def _difference_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    found = comparison_summary(comparison)
    rows: list[tuple[str, ...]] = []
    for row in [*found["tasks"], {"instruction": "all tasks", **found["overall"]}]:
        value, low, high = (format_points(x) for x in row["difference"].values())
        rows.append(
            (
                row["instruction"],
                str(row["pairs"]),
                f"{row['before']:.0%}",
                f"{row['after']:.0%}",
                value,
                f"{low} to {high}",
                f"{row['p']:.3f}" if row["p"] >= 0.001 else "<\u00a00.001",
            )
        )
    return rows


def pairs(facts: Facts) -> Section | None:
    """Show videos of the same starts before and after."""
    comparison = facts.run.comparison if facts.run else None
    chosen = choose_pairs(comparison, PAIRS_SHOWN) if comparison else []
    if facts.run is None or comparison is None or not chosen:
        return None
    videos = [
        (
            side_by_side(comparison, (before, after)),
            f"{before.instruction}: {before.outcome}, then {after.outcome} (seed {before.seed})",
        )
        for before, after in chosen
    ]
    content = {"videos": videos, "subgoals": not facts.run.follows_instructions}
    return Section("Before and after", "pairs.html", content)


def rounds(facts: Facts) -> Section | None:
    """Show what every round collected, and the decision about its candidate."""
    if facts.run is None or not facts.run.record.rounds:
        return None
    records = facts.run.record.rounds
    content = {
        "rows": [_round_row(facts, facts.run, r) for r in records],
        "decisions": [f"Round {r.index}: {r.decision}." for r in records if r.decision],
        "teacher": facts.run.teacher,
    }
    return Section("Rounds", "rounds.html", content)


def _round_row(facts: Facts, run: RunFacts, record: RoundRecord) -> tuple[str, ...]:
    episodes = [e for e in facts.episodes if e.provenance.round == record.index]
    successes = sum(e.verdict.outcome == "success" for e in episodes)
    evaluation = run.evaluations.get(record.index)
    rate = evaluation.overall() if evaluation and evaluation.trials else None
    now = {True: "promoted", False: "not promoted", None: f"next: {record.stage}"}[record.promoted]
    return (
        str(record.index),
        f"{len(episodes)} episodes",
        str(successes),
        "" if rate is None else f"{rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%})",
        now,
        duration(sum(record.seconds.values())),
    )


def quality(change: Interval) -> str:
    """Return the CSS class of a difference: good or bad only where its interval excludes zero."""
    return "good" if change.low > 0 else "bad" if change.high < 0 else "unsure"


def duration(seconds: float) -> str:
    """Format a duration in minutes or hours."""
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
