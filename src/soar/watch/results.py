"""Results so far: tasks, success over time and rounds, and the detector's verdicts against labels and truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

from starlette.requests import Request

from soar.errors import ConfigError
from soar.improvement.run import Run
from soar.types import EpisodeSummary
from soar.utils.files import Json
from soar.utils.statistics import Confusion, Interval, wilson
from soar.vlm.calibration import PERSON
from soar.watch.panel import Panel, route
from soar.watch.place import Place

WINDOW = 50
"""Judged episodes over which success over time is averaged."""
_POINTS = 120
"""Points of that curve, at most."""


def results(place: Place) -> Panel:
    """Return the panel of the results."""
    return Panel("results", "Results", (route("/api/results", partial(_results, place)),))


def confusion(episodes: Iterable[EpisodeSummary], known: Mapping[str, bool | None]) -> Confusion:
    """Count verdicts of models against what is known by episode, a label or the truth; None is left out."""
    return Confusion.of(
        (episode.verdict.outcome, success)
        for episode in episodes
        if (success := known.get(episode.id)) is not None and episode.verdict.judge != PERSON
    )


def over_time(episodes: Sequence[EpisodeSummary]) -> list[Json]:
    """Return the success rate among the last `WINDOW` judged episodes, at up to `_POINTS` of them."""
    judged = [
        (number, e.verdict.outcome == "success")
        for number, e in enumerate(episodes, 1)
        if e.verdict.outcome != "unknown"
    ]
    chosen = sorted({round(i * (len(judged) - 1) / (_POINTS - 1)) for i in range(_POINTS)})
    points = []
    for last in chosen if judged else ():
        window = [success for _, success in judged[max(0, last + 1 - WINDOW) : last + 1]]
        points.append({"episode": judged[last][0], **_rate(sum(window), len(window))})
    return points


def _results(place: Place, request: Request) -> Json:
    _, episodes = place.episodes()
    labels = place.read_labels()
    return {
        "episodes": len(episodes),
        "window": WINDOW,
        "tasks": _by(episodes, [e.instruction for e in episodes]),
        "stations": _by(episodes, [e.provenance.station for e in episodes]),
        "rounds": _by(episodes, [str(e.provenance.round) for e in episodes]),
        "starts": _round_starts(episodes),
        "over_time": over_time(episodes),
        "evaluations": _evaluations(place.run),
        "labels": _rates(confusion(episodes, labels)),
        "truth": _rates(confusion(episodes, {e.id: e.provenance.truth for e in episodes})),
        "unsure": sum(success is None for success in labels.values()),
        "labels_file": str(place.labels),
    }


def _by(episodes: Sequence[EpisodeSummary], names: Sequence[str]) -> list[Json]:
    """Count attempts and success of each group, the most attempted first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for episode, name in zip(episodes, names, strict=True):
        groups[name].append(episode.verdict.outcome)
    rows = [
        {
            "name": name,
            "attempts": len(outcomes),
            "unknown": outcomes.count("unknown"),
            **_rate(outcomes.count("success"), len(outcomes) - outcomes.count("unknown")),
        }
        for name, outcomes in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["attempts"], row["name"]))


def _round_starts(episodes: Sequence[EpisodeSummary]) -> list[Json]:
    """Return the number of the first episode of each later round."""
    rounds = [e.provenance.round for e in episodes]
    return [
        {"episode": n + 1, "round": rounds[n]}
        for n in range(1, len(rounds))
        if rounds[n] > rounds[n - 1]
    ]


def _evaluations(run: Run | None) -> list[Json]:
    """Return the success rate of every evaluation of a run; one that has only begun is left out."""
    try:
        found = run.evaluations() if run else {}
    except ConfigError:
        return []
    return [
        {
            "round": index,
            "trials": len(evaluation.trials),
            **_interval(evaluation.overall()),
        }
        for index, evaluation in found.items()
        if evaluation.trials
    ]


def _rates(found: Confusion) -> Json:
    rates = {k: _interval(getattr(found, k)) for k in ("accuracy", "precision", "recall")}
    return {**asdict(found), "judged": found.judged, **rates}


def _rate(successes: int, judged: int) -> dict[str, Json]:
    return {"successes": successes, "judged": judged, **_interval(wilson(successes, judged))}


def _interval(found: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in found._asdict().items()}
