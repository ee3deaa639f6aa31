"""The report's workings: collection, verdicts, training, faults, and where everything came from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from soar.data.store.lance import open_store
from soar.report import figures, html
from soar.report.facts import Facts, by_task, confusion
from soar.report.html import Section
from soar.report.videos import time_lapse
from soar.utils.files import Json
from soar.utils.statistics import Confusion, Interval

EVENTS_SHOWN = 12


def collection(facts: Facts) -> Section | None:
    """What the robot chose to do, how it fared, and a time-lapse."""
    episodes = facts.episodes
    if not episodes:
        return None
    text = (
        "Nobody told the robot what to do: a vision-language model looks at the table, finds the tasks "
        "that are possible right now, and the one tried least often is chosen. Each tick is one "
        "attempt, coloured by the model's verdict on its last picture. Dashed lines: a new policy."
    )
    rows = [
        (
            t.instruction,
            str(t.attempts),
            f"{t.successes / t.attempts:.0%}",
            "" if t.true_successes is None else f"{t.true_successes / t.attempts:.0%}",
            str(t.unknown),
        )
        for t in by_task(episodes)
    ]
    store = open_store(facts.run.store, read_only=True)
    body = (
        html.paragraph(text),
        html.paragraph(_pace(facts)),
        html.figure(figures.svg(figures.plot_choices(episodes), "Tasks chosen over time")),
        html.figure(
            figures.svg(figures.plot_success_over_time(episodes), "Success while collecting"),
            f"Share of successes among the last {figures.WINDOW} episodes.",
        ),
        html.table(("task", "attempts", "judged success", "true success", "unknown"), rows),
        html.figure(
            html.video(time_lapse(store, episodes)),
            "Time-lapse: episodes spread over the whole collection, the current subgoal in the corner.",
            "lapse",
        ),
    )
    return Section("Collection", "".join(body))


def _pace(facts: Facts) -> str:
    """How much was collected by how many stations, and how busy real-time arms were."""
    stations = Counter(e.provenance.station for e in facts.episodes)
    each = ", ".join(f"{name} {count}" for name, count in sorted(stations.items()))
    text = f"Episodes per station: {each}."
    duty = {s.station: s.duty_cycle for s in facts.stations if s.duty_cycle is not None}
    if duty:
        busy = ", ".join(f"{name} {share:.0%}" for name, share in duty.items())
        text += f" Share of time the arm was moving: {busy}."
    return text


def verdicts(facts: Facts) -> Section | None:
    """The vision-language model's confusion against ground truth, where there is one."""
    found = confusion(facts.episodes)
    if not found.judged:
        return None
    use = (
        "Which grasps were good, and so where things are, is told by the episodes"
        if facts.corrected
        else "The policy learns only from episodes"
    )
    text = (
        f"{use} that the vision-language model called a success, so its "
        "mistakes matter: a false success teaches something wrong, a false failure wastes something "
        "good. The simulator knows the truth; the robot never sees it. The paper's model, on 546 "
        "trajectories labelled by hand: 79 % right, precision 63 %, recall 100 %."
    )
    tiles = (
        _share(found.accuracy, "of verdicts are right"),
        _share(found.precision, "of judged successes are real (precision)"),
        _share(found.recall, "of real successes are found (recall)"),
    )
    grid = f'<div class="tiles">{"".join(tiles)}</div>'
    return Section("Verdicts", html.paragraph(text) + grid + _confusion_table(found))


def _share(rate: Interval, label: str) -> str:
    return html.tile(f"{rate.value:.0%}", f"{label}; {rate.low:.0%} to {rate.high:.0%}")


def _confusion_table(found: Confusion) -> str:
    def cell(count: int, word: str, tone: str) -> str:
        return f'<td><b class="{tone}">{count}</b><span>{word}</span></td>'

    note = html.paragraph(f"{found.unknown} more could not be judged.") if found.unknown else ""
    return (
        '<div class="scroll"><table class="confusion"><tr><th></th><th>truly a success</th><th>truly a failure</th></tr>'
        f"<tr><th>judged success</th>{cell(found.true_success, 'right', 'good')}"
        f"{cell(found.false_success, 'false success', 'bad')}</tr>"
        f"<tr><th>judged failure</th>{cell(found.false_failure, 'false failure', 'bad')}"
        f"{cell(found.true_failure, 'right', 'good')}</tr></table></div>{note}"
    )


def training(facts: Facts) -> Section | None:
    """The policies' loss curves, speed, and the mixture."""
    text = (
        "The policy learns what an able hand would have done in each frame of all episodes, failures too, "
        "with a goal painted where that would have led. Where things were follows from what the arm felt: "
        "where the camera sees it, and the grasps that held. No simulator knows of it."
        if facts.corrected
        else "The policy learns to imitate the collected actions, given what it saw and a picture of what "
        "came a little later. No success label and no words enter this loss."
    )
    mixtures = {
        r.index: ", ".join(f"{name} {share:.0%}" for name, share in r.mixture.items())
        for r in facts.record.rounds
    }
    return _learning("Training", text, facts.train_logs, "samples came from", mixtures)


def imagination(facts: Facts) -> Section | None:
    """What practice taught the imagination."""
    text = (
        "From all episodes, failures too, the imagination learns where things are seen in this scene: "
        "the arm's places in the image follow from what the arm felt, and how far beside a thing is "
        "read from where it is, from the grasps that held. Then each frame says where everything "
        "should be a little later. No simulator and no success label but the robot's own judgement."
    )
    ids = {r.index: r.subgoals_checkpoint for r in facts.record.rounds}
    return _learning("What the imagination learned", text, facts.imagination_logs, "it is now", ids)


def _learning(
    title: str,
    text: str,
    found: Mapping[int, Sequence[Mapping[str, Json]]],
    last_head: str,
    last: Mapping[int, str],
) -> Section | None:
    """Loss curves and speed, by round, and something that is said of each."""
    logs = {index: log for index, log in found.items() if log}
    if not logs:
        return None
    rows = [
        (
            f"round {index}",
            str(log[-1]["step"]),
            f"{log[-1]['loss']:.4f}",
            f"{log[-1].get('samples_per_s', 0):.0f}",
            f"{log[-1].get('wait_share', 0):.1%}",
            last.get(index, ""),
        )
        for index, log in logs.items()
    ]
    picture = figures.svg(figures.plot_losses(logs), "Training loss")
    head = ("", "steps", "last loss", "samples/s", "waiting for data", last_head)
    return Section(title, html.paragraph(text) + html.figure(picture) + html.table(head, rows))


def faults(facts: Facts) -> Section | None:
    """What broke, and what a person was asked to do."""
    if not facts.episodes and not facts.events:
        return None
    if not facts.events:
        return Section("Faults", html.paragraph("None: nothing broke while collecting."))
    kinds = Counter(e["kind"] for e in facts.events)
    text = (
        "An episode that meets a fault is dropped, the fault is cleared in software, and the robot goes "
        "on; nothing half-done is learned from. Counted: "
        + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        + "."
    )
    latest = facts.events[-EVENTS_SHOWN:]
    rows = [(e["message"], e["kind"], e["station"], _clock(e["time_s"])) for e in latest]
    heading = f"<h3>The latest {len(rows)} of {len(facts.events)}</h3>"
    table = html.table(("what", "kind", "station", "when (UTC)"), rows)
    return Section("Faults", html.paragraph(text) + heading + table)


def _clock(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%d %b %H:%M")


def provenance(facts: Facts) -> Section:
    """From every number back to a checkpoint, a store version, and seeds."""
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
                f"evaluation {index}",
                f"checkpoint {s.checkpoint}, {s.policy}, subgoals {s.subgoals}, seeds from "
                f"{s.first_seed}, {s.trials} trials a task, {s.subgoals_per_trial} x "
                f"{s.steps_per_subgoal} steps",
            )
        )
    for r in record.rounds:
        query = json.dumps({k: v for k, v in r.query.items() if v}, sort_keys=True)
        rows.append(
            (
                f"round {r.index}",
                f"collected with checkpoint {r.collected_with or '?'}, fitted checkpoint "
                f"{r.candidate or 'none yet'}, imagination {r.subgoals_checkpoint or 'as before'}, "
                f"store version {r.store_version}, query {query}",
            )
        )
    table = html.table(("what", "value"), [row for row in rows if row[1]])
    config = html.preformatted(json.dumps(asdict(record), indent=2))
    body = f'<div class="provenance">{table}</div>' + html.details("All of run.json", config)
    return Section("Provenance", body)
