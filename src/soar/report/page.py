"""`write_report`: one HTML page that tells a newcomer what a run did and whether it helped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from soar.data.store import open_store
from soar.evaluate.plots import plot_rates
from soar.evaluate.results import Comparison, Evaluation
from soar.evaluate.show import comparison_summary, short, summary
from soar.report import figures, html
from soar.report.clips import choose_pairs, side_by_side, time_lapse
from soar.report.facts import Confusion, Facts, by_task, confusion, faults, read_facts, sentence
from soar.report.html import Section
from soar.run import Run
from soar.stats import Interval

PAIRS_SHOWN = 6


def write_report(run: Run, path: Path | None = None) -> Path:
    """Write the page of a run, finished or not; returns where it is.

    Raises:
        ConfigError: it is no run, or a file of it is damaged.
    """
    facts = read_facts(run)
    parts: list[Callable[[Facts], Section | None]] = [
        _success, _pairs, _rounds, _collection, _verdicts, _training, _faults, _provenance,
    ]  # fmt: skip
    sections = [s for part in parts if (s := part(facts)) is not None]
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
        change = facts.comparison.difference()
        tiles.append(
            html.tile(f"{100 * change.value:+.0f} points", "paired difference", _tone(change))
        )
    if facts.episodes:
        judged = sum(e.verdict.outcome == "success" for e in facts.episodes)
        tiles.append(html.tile(str(len(facts.episodes)), "episodes collected by itself"))
        tiles.append(html.tile(f"{judged / len(facts.episodes):.0%}", "of them judged a success"))
    if facts.hours:
        tiles.append(html.tile(_duration(3600 * facts.hours), "from beginning to end"))
    return tiles


def _success(facts: Facts) -> Section | None:
    series = {
        name: _rates(evaluation)
        for name, evaluation in (("before", facts.before), ("after", facts.after))
        if evaluation is not None
    }
    if not series:
        return None
    text = (
        "The robot tries every task from many fixed starts, before and after practising: the same "
        "starts both times. A trial counts as success when the task is done at its end, by the "
        "simulator's strict rules (or a judge's word, on a real robot). The thin lines are 95 % "
        "intervals: where the truth plausibly lies, given so few trials."
    )
    body = html.paragraph(text) + html.figure(
        figures.svg(plot_rates(series), "Success per task, before and after")
    )
    if facts.comparison is not None:
        body += _differences(facts.comparison)
    elif facts.before is not None:
        body += _rates_table(facts.before)
    return Section("Success", body)


def _rates(evaluation: Evaluation) -> dict[str, Interval]:
    rates = {short(task, evaluation): rate for task, rate in evaluation.by_task().items()}
    return rates | {"all tasks": evaluation.overall()}


def _rates_table(evaluation: Evaluation) -> str:
    found = summary(evaluation)
    rows = [
        (r["instruction"], f"{r['successes']}/{r['trials']}", f"{r['low']:.0%} to {r['high']:.0%}")
        for r in found["tasks"]
    ]
    return html.table(("task", "successes", "95 % interval"), rows)


def _differences(comparison: Comparison) -> str:
    found = comparison_summary(comparison)
    rows = []
    for row in [*found["tasks"], {"instruction": "all tasks", **found["overall"]}]:
        value, low, high = (100 * x for x in row["difference"].values())
        rows.append(
            (
                row["instruction"],
                str(row["pairs"]),
                f"{row['before']:.0%}",
                f"{row['after']:.0%}",
                f"{value:+.0f}",
                f"{low:+.0f} to {high:+.0f}",
                f"{row['p']:.2g}",
            )
        )
    text = (
        "Each start is compared with itself. A difference whose interval stays on one side of zero is "
        "hardly chance; p is McNemar's exact test of the same question. With many tasks, one in "
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


def _pairs(facts: Facts) -> Section | None:
    comparison = facts.comparison
    pairs = [] if comparison is None else choose_pairs(comparison, PAIRS_SHOWN)
    if comparison is None or not pairs:
        return None
    text = (
        "Left before, right after; green frames are successes. The small picture in the corner is the "
        "subgoal the robot was trying to reach at that moment. Starts whose outcome changed are shown "
        "first, gains and losses in the proportion in which they happened."
    )
    films = [
        html.figure(
            html.video(side_by_side(comparison, pair)),
            f"{pair[0].instruction}: {pair[0].outcome}, then {pair[1].outcome} (seed {pair[0].seed})",
        )
        for pair in pairs
    ]
    return Section(
        "Before and after", html.paragraph(text) + f'<div class="films">{"".join(films)}</div>'
    )


def _rounds(facts: Facts) -> Section | None:
    if not facts.record.rounds:
        return None
    rows = []
    for r in facts.record.rounds:
        evaluation = facts.evaluations.get(r.index)
        decided = {True: "promoted", False: "not promoted", None: f"at '{r.stage}'"}[r.promoted]
        rows.append(
            (
                f"{r.index}: {r.decision or decided}",
                str(len(facts.of_round(r.index))),
                f"{evaluation.overall().value:.0%}" if evaluation and evaluation.trials else "",
                r.candidate[:8],
                decided,
                _duration(sum(r.seconds.values())),
            )
        )
    text = (
        "One round: the robot collects episodes with the policy it has, a new policy is trained on "
        "what the vision-language model judged a success (together with the demonstrations it began "
        "with), and is evaluated; if it is better, it takes over."
    )
    head = ("round", "episodes", "success after", "checkpoint", "decision", "time")
    return Section("Rounds", html.paragraph(text) + html.table(head, rows))


def _collection(facts: Facts) -> Section | None:
    if not facts.episodes:
        return None
    words = (
        "Nobody told the robot what to do: a vision-language model looks at the table, finds the tasks "
        "that are possible right now, and the one tried least often is chosen. Each tick is one "
        "attempt, coloured by the model's verdict on the last picture. Dashed lines: a new policy."
    )
    rows = [
        (
            t.instruction,
            str(t.attempts),
            f"{t.successes / t.attempts:.0%}",
            "" if t.true_successes is None else f"{t.true_successes / t.attempts:.0%}",
            str(t.unknown),
        )
        for t in by_task(facts.episodes)
    ]
    store = open_store(facts.run.store, read_only=True)
    body = [
        html.paragraph(words),
        html.figure(figures.svg(figures.plot_choices(facts.episodes), "Tasks chosen over time")),
        html.figure(
            figures.svg(figures.plot_success_over_time(facts.episodes), "Success while collecting"),
            f"Share of successes among the last {figures.WINDOW} episodes.",
        ),
        html.table(("task", "attempts", "judged success", "true success", "unknown"), rows),
        html.figure(
            html.video(time_lapse(store, facts.episodes)),
            "Time-lapse: episodes spread over the whole collection, the current subgoal in the corner.",
            "lapse",
        ),
    ]
    return Section("Collection", "".join(body))


def _verdicts(facts: Facts) -> Section | None:
    found = confusion(facts.episodes)
    if not found.judged:
        return None
    text = (
        "The policy learns only from episodes that the vision-language model called a success, so its "
        "mistakes matter: a false success teaches something wrong, a false failure wastes something "
        "good. The simulator knows the truth; the robot never sees it. The paper's model, on 546 "
        "trajectories labelled by hand: accuracy 79 %, precision 63 %, recall 100 %."
    )
    tiles = [
        html.tile(_with_interval(found.accuracy), "verdicts that are right"),
        html.tile(_with_interval(found.precision), "of its successes are real"),
        html.tile(_with_interval(found.recall), "of real successes found"),
    ]
    body = html.paragraph(text) + f'<div class="tiles">{"".join(tiles)}</div>'
    return Section("Verdicts", body + _confusion_table(found))


def _confusion_table(found: Confusion) -> str:
    def cell(count: int, word: str, tone: str) -> str:
        return f'<td><b class="{tone}">{count}</b><span>{word}</span></td>'

    note = html.paragraph(f"{found.unknown} more could not be judged.") if found.unknown else ""
    return (
        '<table class="confusion"><tr><th></th><th>truly a success</th><th>truly a failure</th></tr>'
        f"<tr><th>judged success</th>{cell(found.true_success, 'right', 'good')}"
        f"{cell(found.false_success, 'false success', 'bad')}</tr>"
        f"<tr><th>judged failure</th>{cell(found.false_failure, 'false failure', 'bad')}"
        f"{cell(found.true_failure, 'right', 'good')}</tr></table>{note}"
    )


def _training(facts: Facts) -> Section | None:
    logs = {r: rows for r, rows in facts.train_logs.items() if rows}
    if not logs:
        return None
    rows = []
    for index, log in logs.items():
        record = next((r for r in facts.record.rounds if r.index == index), None)
        mixture = {} if record is None else record.mixture
        rows.append(
            (
                f"round {index}",
                str(log[-1]["step"]),
                f"{log[-1]['loss']:.4f}",
                f"{log[-1].get('samples_per_s', 0):.0f}",
                f"{log[-1].get('wait_share', 0):.1%}",
                ", ".join(f"{name} {share:.0%}" for name, share in mixture.items()),
            )
        )
    picture = figures.svg(figures.plot_losses(logs), "Training loss")
    head = ("", "steps", "last loss", "samples/s", "waiting for data", "samples came from")
    text = (
        "The policy learns to imitate the collected actions, given what it saw and a picture of "
        "what came a little later. No success label and no words enter this loss."
    )
    return Section("Training", html.paragraph(text) + html.figure(picture) + html.table(head, rows))


def _faults(facts: Facts) -> Section | None:
    if not facts.episodes:
        return None
    found = faults(facts.episodes)
    if not found:
        return Section("Faults", html.paragraph("None: no stored episode met a fault."))
    rows = [(fault, str(count), latest) for fault, count, latest in found]
    return Section("Faults", html.table(("fault", "episodes", "latest"), rows))


def _provenance(facts: Facts) -> Section:
    record = facts.record
    rows = [
        ("command", record.command),
        ("code version", record.code_version),
        ("config hash", record.config_hash),
        *((f"model: {role}", name) for role, name in record.models.items()),
        ("episode store", f"{facts.run.store.name}/, version {facts.store_version}"),
    ]
    for index, evaluation in facts.evaluations.items():
        s = evaluation.setting
        rows.append(
            (
                f"evaluation of round {index}",
                f"checkpoint {s.checkpoint}, {s.policy}, subgoals {s.subgoals}, seeds from "
                f"{s.first_seed}, {s.trials} trials a task, {s.subgoals_per_trial} x {s.steps_per_subgoal} steps",
            )
        )
    for r in record.rounds:
        query = json.dumps({k: v for k, v in r.query.items() if v}, sort_keys=True)
        rows.append((f"data of round {r.index}", f"store version {r.store_version}, query {query}"))
    body = html.table(("what", "value"), [row for row in rows if row[1]])
    config = html.preformatted(json.dumps(asdict(record), indent=2))
    return Section(
        "Provenance",
        f'<div class="provenance">{body}</div>' + html.details("Everything in run.json", config),
    )


def _footer(facts: Facts) -> str:
    return html.paragraph(
        f"Made from the folder '{facts.run.folder.name}' by `soar report`. This page needs no other file."
    )


def _tone(change: Interval) -> str:
    return "good" if change.low > 0 else "bad" if change.high < 0 else "unsure"


def _with_interval(rate: Interval) -> str:
    return f"{rate.value:.0%}"


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
