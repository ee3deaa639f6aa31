"""The paper's appendix D in simulation: what the detector gets wrong, and who collects more successes.

FOLDER/system/store, FOLDER/lcbc/store   episodes of the whole system, and of the policy that follows instructions
FOLDER/appendix-d.json                   every number
FOLDER/appendix-d.md                     two tables
FOLDER/appendix-d.png                    judged and true success, in seen and unseen scenes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from soar.data.store.lance import open_store
from soar.evaluation.plots import format_rate
from soar.experiments.paper.tables import write_study
from soar.experiments.run_config import RunConfig
from soar.experiments.simulated_run import collect_in_simulation
from soar.improvement.rounds import OnMessage
from soar.improvement.run import Run
from soar.types import EpisodeSummary, Query
from soar.utils.statistics import Confusion, Interval, wilson

COLLECTORS = {"system": ("gcbc", "compact"), "lcbc": ("lcbc", "none")}
"""Policy and subgoal generator of each collection; both have the same proposer and detector."""
PAPER_DETECTOR = {"accuracy": 0.79, "precision": 0.63, "recall": 1.0}
"""The paper's detector on 546 labeled episodes."""
PAPER_JUDGED = {
    "seen": {"system": 0.350, "lcbc": 0.139},
    "unseen": {"system": 0.261, "lcbc": 0.0},
}
"""Success in the paper as its VLM judges it, in two hours of collection each."""
SCENES = ("bridge-1000001", "bridge-1000002", "bridge-1000003", "1", "8", "9")
"""Three scenes with objects and tables that the policy was pretrained on, and three of the paper's, without."""


class Success(NamedTuple):
    """Success of a collection's episodes."""

    judged: Interval
    true: Interval
    episodes: int


def reproduce_appendix_d(folder: Path, config: RunConfig, on_message: OnMessage) -> Path:
    """Collect with both, or what is left of it; write numbers, tables and figure; return the tables' path.

    Args:
        folder: folder for all of it.
        config: scenes, episodes in each, and how they are collected.
        on_message: called with a few words before each stage.

    Raises:
        ConfigError: there is no such scene.
    """
    found: dict[str, list[EpisodeSummary]] = {}
    for name, (policy, subgoals) in COLLECTORS.items():
        run = Run(folder / name)
        on_message(f"collection by {name}, {config.episodes} episodes in each scene")
        collect_in_simulation(
            replace(config, policy=policy, subgoals=subgoals), run, 1, policy, subgoals
        )
        found[name] = list(open_store(run.store, read_only=True).query(Query()))
    detector = detector_rates([e for episodes in found.values() for e in episodes])
    groups = {name: by_familiarity(episodes) for name, episodes in found.items()}
    bars = {
        f"{name}, {kind}": {group: getattr(success, kind) for group, success in of.items()}
        for name, of in groups.items()
        for kind in ("judged", "true")
    }
    numbers, table = _numbers(detector, groups), _markdown(detector, groups)
    return write_study(folder, "appendix-d", numbers, table, bars)


def detector_rates(episodes: Sequence[EpisodeSummary]) -> Confusion:
    """Count verdicts against the simulator's truth."""
    known = ((e.verdict.outcome, e.provenance.truth) for e in episodes)
    return Confusion.of((outcome, truth) for outcome, truth in known if truth is not None)


def by_familiarity(episodes: Sequence[EpisodeSummary]) -> dict[str, Success]:
    """Return success in scenes of the regime that the policy was pretrained on, "seen", and in "unseen" ones."""
    groups: dict[str, list[EpisodeSummary]] = {"seen": [], "unseen": []}
    for e in episodes:
        groups["seen" if e.provenance.regime == "bridge" else "unseen"].append(e)
    return {
        name: Success(
            wilson(sum(e.verdict.outcome == "success" for e in some), len(some)),
            wilson(sum(bool(e.provenance.truth) for e in some), len(some)),
            len(some),
        )
        for name, some in groups.items()
        if some
    }


def _numbers(detector: Confusion, groups: Mapping[str, Mapping[str, Success]]) -> dict[str, object]:
    rates = {n: getattr(detector, n)._asdict() for n in ("accuracy", "precision", "recall")}
    return {
        "detector": {**rates, "judged": detector.judged, "unknown": detector.unknown},
        "collection": {
            name: {
                group: {
                    "judged": success.judged._asdict(),
                    "true": success.true._asdict(),
                    "episodes": success.episodes,
                }
                for group, success in of.items()
            }
            for name, of in groups.items()
        },
        "paper": {"detector": PAPER_DETECTOR, "judged": PAPER_JUDGED},
    }


def _markdown(detector: Confusion, groups: Mapping[str, Mapping[str, Success]]) -> str:
    lines = [
        "| success detector | accuracy | precision | recall | episodes |",
        "|---|---|---|---|---|",
    ]
    cells = (format_rate(r) for r in (detector.accuracy, detector.precision, detector.recall))
    lines.append(f"| ours | {' | '.join(cells)} | {detector.judged} |")
    paper = (f"{rate:.0%}" for rate in PAPER_DETECTOR.values())
    lines.append(f"| the paper | {' | '.join(paper)} | 546 |")
    lines += [
        "",
        "| collection by | scenes | judged a success | truly one | episodes | the paper, judged |",
        "|---|---|---|---|---|---|",
    ]
    for name, of in groups.items():
        for group, success in of.items():
            lines.append(
                f"| {name} | {group} | {format_rate(success.judged)} | {format_rate(success.true)} "
                f"| {success.episodes} | {PAPER_JUDGED[group][name]:.0%} |"
            )
    return "\n".join(lines) + "\n"
