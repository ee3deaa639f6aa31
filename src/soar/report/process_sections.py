"""Sections about the process: collection, verdicts, training, faults, and provenance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from soar.data.store.lance import LanceStore
from soar.improvement.run import RoundRecord
from soar.report.facts import (
    Counts,
    Facts,
    RunFacts,
    Section,
    confusion,
    count_by,
    join_names,
    task_labels,
    verdict_shares,
)
from soar.report.figures import WINDOW, plot_attempts, plot_losses, plot_success_over_time, svg
from soar.report.videos import choose_samples, episode_video, time_lapse
from soar.types import EpisodeSummary
from soar.utils.files import Json
from soar.utils.statistics import Interval

EVENTS_SHOWN = 12
SAMPLES_SHOWN = 6


def collection(facts: Facts) -> Section | None:
    """Show the attempted tasks, their success, the proposals, and a time-lapse; of a store also sample episodes."""
    episodes, store = facts.episodes, facts.store
    if store is None or not episodes:
        return None
    labels = task_labels(episodes)
    stations = count_by(episodes, lambda e: e.provenance.station)
    content = {
        "rounds": len({e.provenance.round for e in episodes}) > 1,
        "busy": _busy(facts),
        "attempts_plot": svg(plot_attempts(episodes, labels), "Tasks chosen over time"),
        "success_plot": svg(plot_success_over_time(episodes), "Success while collecting"),
        "window": WINDOW,
        "tasks": [_row(c) for c in count_by(episodes, lambda e: labels[e.instruction])],
        "stations": [_row(c) for c in stations] if len(stations) > 1 else [],
        "reasons": _reasons(episodes),
        "proposals": _proposal_rows(episodes, labels),
        "time_lapse": time_lapse(store, episodes),
        "samples": [] if facts.run else _samples(store, episodes),
    }
    return Section("Collection", "collection.html", content)


def _row(counts: Counts) -> tuple[str, ...]:
    truth = f"{counts.true_successes / counts.truths:.0%}" if counts.truths else ""
    some = f" of {counts.truths}" if 0 < counts.truths < counts.attempts else ""
    return (
        counts.name,
        str(counts.attempts),
        f"{counts.successes / counts.attempts:.0%}",
        truth + some,
        str(counts.unknown),
    )


def _busy(facts: Facts) -> str:
    """Return how busy real-time arms were; "" where none was."""
    duty = {s.station: s.duty_cycle for s in facts.stations if s.duty_cycle is not None}
    busy = ", ".join(f"{name} {share:.0%}" for name, share in duty.items())
    return f"Share of time the arm was moving: {busy}." if busy else ""


def _reasons(episodes: Sequence[EpisodeSummary]) -> str:
    reasons = Counter(e.provenance.proposal.reason for e in episodes if e.provenance.proposal)
    counted = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return f"Reasons of the choices: {counted}."


def _proposal_rows(
    episodes: Sequence[EpisodeSummary], labels: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """Return how often each task was found possible, and how often it was chosen, the most chosen first."""
    proposals = [p for e in episodes if (p := e.provenance.proposal)]
    possible = Counter(labels.get(i, i) for p in proposals for i in p.feasible)
    chosen = Counter(labels.get(p.task.instruction, p.task.instruction) for p in proposals)
    names = sorted(chosen.keys() | possible.keys(), key=lambda name: (-chosen[name], name))
    return [(name, str(possible[name]), str(chosen[name])) for name in names]


def _samples(store: LanceStore, episodes: Sequence[EpisodeSummary]) -> list[tuple[bytes, str]]:
    return [
        (
            episode_video(store.load(e.id)),
            f"{e.instruction}: judged {e.verdict.outcome} ({e.provenance.station})",
        )
        for e in choose_samples(episodes, SAMPLES_SHOWN)
    ]


def verdicts(facts: Facts) -> Section | None:
    """Show the verdicts, and their confusion with the truth where it is known."""
    if not facts.episodes:
        return None
    found = confusion(facts.episodes)
    content = {
        "learning": facts.run is not None,
        "corrected": facts.run is not None and facts.run.corrected,
        "shares": verdict_shares(facts.episodes),
        "known": found.judged > 0,
        "confusion": found,
        "tiles": (
            _share_tile(found.accuracy, "of verdicts are right"),
            _share_tile(found.precision, "of judged successes are real (precision)"),
            _share_tile(found.recall, "of real successes are found (recall)"),
        ),
    }
    return Section("Verdicts", "verdicts.html", content)


def _share_tile(rate: Interval, label: str) -> tuple[str, str]:
    return f"{rate.value:.0%}", f"{label}; {rate.low:.0%} to {rate.high:.0%}"


def training(facts: Facts) -> Section | None:
    """Show the policies' loss curves, training speed, and data mixtures."""
    if facts.run is None:
        return None
    mixtures = {
        r.index: ", ".join(f"{name} {share:.0%}" for name, share in r.mixture.items())
        for r in facts.run.record.rounds
    }
    content = _learning(facts.run.train_logs, "samples came from", mixtures)
    what = {
        "corrected": facts.run.corrected,
        "follows_instructions": facts.run.follows_instructions,
    }
    return Section("Training", "training.html", content | what) if content else None


def finetuning(facts: Facts) -> Section | None:
    """Show the loss curves of the subgoal generator's fine-tuning."""
    if facts.run is None:
        return None
    ids = {r.index: r.subgoals_checkpoint for r in facts.run.record.rounds}
    content = _learning(facts.run.finetune_logs, "checkpoint", ids)
    title = "What the subgoal generator learned"
    return Section(title, "finetuning.html", content) if content else None


def _learning(
    logs: Mapping[int, Sequence[Mapping[str, Json]]], last_head: str, last: Mapping[int, str]
) -> dict[str, object]:
    """Return loss curves and training speed by round, with one more column; nothing without logs."""
    logs = {index: log for index, log in logs.items() if log}
    if not logs:
        return {}
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
    plot = svg(plot_losses(logs), "Training loss")
    return {"plot": plot, "rows": rows, "last_head": last_head}


def faults(facts: Facts) -> Section | None:
    """Show faults, and what a person was asked to do."""
    if not facts.episodes and not facts.events:
        return None
    kinds = Counter(e["kind"] for e in facts.events)
    content = {
        "stations": facts.stations,
        "counts": ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()),
        "total": len(facts.events),
        "events": [
            (e["message"], e["kind"], e["station"], _clock(e["time_s"]))
            for e in facts.events[-EVENTS_SHOWN:]
        ],
    }
    return Section("Faults", "faults.html", content)


def _clock(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%d %b %H:%M")


def provenance(facts: Facts) -> Section:
    """Show the checkpoints, store version and seeds behind every number."""
    rows = _run_rows(facts.run) if facts.run else _collection_rows(facts.episodes)
    if facts.store is not None:
        name, version = facts.store.path.resolve().name, facts.store.version
        rows.append(("episode store", f"{name}/, version {version}, id {facts.store.identity}"))
    content = {
        "rows": [row for row in rows if row[1]],
        "record": json.dumps(asdict(facts.run.record), indent=2) if facts.run else "",
    }
    return Section("Provenance", "provenance.html", content)


def _run_rows(run: RunFacts) -> list[tuple[str, str]]:
    record = run.record
    rows = [
        ("command", record.command),
        ("code version", record.code_version),
        ("config hash", record.config_hash),
        *((f"model: {role}", name) for role, name in record.models.items()),
    ]
    for index, evaluation in run.evaluations.items():
        s = evaluation.setting
        text = (
            f"checkpoint {s.checkpoint}, {s.policy}, subgoals {s.subgoals}, seeds from {s.first_seed}, "
            f"{s.trials} trials a task, {s.subgoals_per_trial} x {s.steps_per_subgoal} steps"
        )
        rows.append((f"evaluation {index}", text))
    return rows + [(f"round {r.index}", _round_provenance(r)) for r in record.rounds]


def _round_provenance(record: RoundRecord) -> str:
    query = json.dumps({k: v for k, v in record.query.items() if v}, sort_keys=True)
    return (
        f"collected with checkpoint {record.collected_with or '?'}, fitted checkpoint "
        f"{record.candidate or 'none yet'}, subgoal generator {record.subgoals_checkpoint or 'as before'}, "
        f"store version {record.store_version}, query {query}"
    )


def _collection_rows(episodes: Sequence[EpisodeSummary]) -> list[tuple[str, str]]:
    """Return the origins of a store's episodes."""
    origins = [e.provenance for e in episodes]
    return [
        ("policy checkpoints", join_names(o.checkpoint for o in origins if o.checkpoint)),
        ("judges", join_names(e.verdict.judge for e in episodes if e.verdict.judge)),
        ("scenes", join_names(o.scene for o in origins if o.scene)),
        ("stations", join_names(o.station for o in origins)),
        ("regimes", join_names(o.regime for o in origins)),
        ("code versions", join_names(o.code_version for o in origins if o.code_version)),
        ("config hashes", join_names(o.config_hash for o in origins if o.config_hash)),
    ]
