"""The report's findings: what became of the robot's success, and of every round."""

from __future__ import annotations

from soar.evaluation.plots import format_points, plot_rates
from soar.evaluation.results import Comparison, Evaluation
from soar.evaluation.tables import comparison_summary, summary, task_label
from soar.improvement.run import RoundRecord
from soar.report import figures, html
from soar.report.facts import Facts
from soar.report.html import Section
from soar.report.videos import choose_pairs, side_by_side
from soar.utils.statistics import Interval

PAIRS_SHOWN = 6
MANY_TASKS = 10
"""With more, bars are per scene, and tasks are in the table only."""


def success(facts: Facts) -> Section | None:
    """Bars before and after, and the paired differences."""
    shown = {"before": facts.before, "after": facts.after}
    series = {name: _rates(e) for name, e in shown.items() if e is not None}
    if not series:
        return None
    text = (
        "The robot tries every task from many fixed starts, before and after practising: the same "
        "starts both times. A trial counts as success when the task is done at its end, by the "
        "simulator's strict rules (on a real robot, by a judge's word). The thin lines are 95 % "
        "intervals: where the truth plausibly lies, given so few trials."
    )
    picture = figures.svg(plot_rates(series), "Success before and after")
    body = html.paragraph(text) + html.figure(picture)
    if facts.comparison is not None:
        body += _differences(facts.comparison)
    elif facts.before is not None:
        body += _rates_table(facts.before)
    return Section("Success", body)


def _rates(evaluation: Evaluation) -> dict[str, Interval]:
    tasks = evaluation.by_task()
    if len(tasks) > MANY_TASKS:
        rates = {f"scene {s}": rate for s, rate in evaluation.by_scene().items()}
    else:
        rates = {task_label(task, evaluation): rate for task, rate in tasks.items()}
    return rates | {"all tasks": evaluation.overall()}


def _rates_table(evaluation: Evaluation) -> str:
    rows = [
        (r["instruction"], f"{r['successes']}/{r['trials']}", f"{r['low']:.0%} to {r['high']:.0%}")
        for r in summary(evaluation)["tasks"]
    ]
    return html.table(("task", "successes", "95 % interval"), rows)


def _differences(comparison: Comparison) -> str:
    found = comparison_summary(comparison)
    rows = []
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
                f"{row['p']:.3f}" if row["p"] >= 0.001 else "< 0.001",
            )
        )
    text = (
        "Each start is compared with itself. A difference whose interval stays on one side of zero is "
        "hardly chance; p is McNemar's exact test of the same question. Among many tasks, one in "
        "twenty would look real by luck alone."
    )
    picture = figures.svg(figures.plot_differences(comparison), "Paired difference per task")
    head = ("task", "starts", "before", "after", "points", "95 % interval", "p")
    return (
        "<h3>The same starts, compared in pairs</h3>"
        + html.paragraph(text)
        + html.figure(picture)
        + html.table(head, rows, last_is_total=True)
    )


def pairs(facts: Facts) -> Section | None:
    """Films of the same start before and after."""
    comparison = facts.comparison
    chosen = [] if comparison is None else choose_pairs(comparison, PAIRS_SHOWN)
    if comparison is None or not chosen:
        return None
    text = (
        "Left before, right after; green edges are successes, red ones failures. The small picture "
        "in the corner is the subgoal the robot was trying to reach at that moment. Starts whose "
        "outcome changed come first, gains and losses in the proportion in which they happened."
    )
    films = [
        html.figure(
            html.video(side_by_side(comparison, (before, after))),
            f"{before.instruction}: {before.outcome}, then {after.outcome} (seed {before.seed})",
        )
        for before, after in chosen
    ]
    grid = f'<div class="films">{"".join(films)}</div>'
    return Section("Before and after", html.paragraph(text) + grid)


def rounds(facts: Facts) -> Section | None:
    """What every round did and what was decided."""
    if not facts.record.rounds:
        return None
    text = (
        "One round: the robot collects episodes with what it has; imagination and policy learn from "
        "them, each as far as it was told to, together with what they began with; both are evaluated "
        "together, and take over if they are better."
    )
    head = ("round", "collected", "judged success", "success after", "now", "time")
    rows = [_round(facts, r) for r in facts.record.rounds]
    decisions = "".join(
        html.paragraph(f"Round {r.index}: {r.decision}.", "hint")
        for r in facts.record.rounds
        if r.decision
    )
    return Section("Rounds", html.paragraph(text) + html.table(head, rows) + decisions)


def _round(facts: Facts, record: RoundRecord) -> tuple[str, ...]:
    episodes = facts.of_round(record.index)
    good = sum(e.verdict.outcome == "success" for e in episodes)
    evaluation = facts.evaluations.get(record.index)
    rate = evaluation.overall() if evaluation and evaluation.trials else None
    now = {True: "promoted", False: "not promoted", None: f"next: {record.stage}"}[record.promoted]
    return (
        str(record.index),
        f"{len(episodes)} episodes",
        f"{good}",
        "" if rate is None else f"{rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%})",
        now,
        duration(sum(record.seconds.values())),
    )


def tone(change: Interval) -> str:
    """A colour's name for a difference: good or bad only where its interval leaves zero."""
    return "good" if change.low > 0 else "bad" if change.high < 0 else "unsure"


def duration(seconds: float) -> str:
    """A time for people."""
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
