"""What a person's takeovers bring in one round: nobody helps, 5 % and 20 % of the control steps, in development scenes.

    python -m benchmarks.takeovers --out runs/takeovers
    python -m benchmarks.takeovers --out runs/takeovers --scenes dev1 --episodes 20 --trials 5 --steps 60

The simulator's expert stands for the person: from an episode's middle on it takes the arm if the task isn't done
and its budget lasts to the episode's end, and gives the arm back when the task is done. The policy then learns from the
episodes that were judged successful (hindsight, co-trained on demonstrations), and is measured from the same starts as
before. Writes table.md and takeovers.png. The same command resumes.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soar.checkpoint import load as load_checkpoint
from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_lockstep
from soar.data.frame_cache import build_frames
from soar.data.idle_frames import drop_idle_frames
from soar.data.mixture import Source
from soar.data.store.lance import LanceStore, open_store
from soar.data.takeovers import weight_takeovers, with_takeovers
from soar.evaluation.plots import plot_rates
from soar.evaluation.protocol import EvalConfig, sim_protocol
from soar.evaluation.results import Evaluation, compare
from soar.evaluation.runner import evaluate
from soar.experiments.simulated_run import bridge_demonstrations
from soar.improvement.cotraining import CoTrainConfig
from soar.improvement.methods.hindsight import HindsightConfig
from soar.pretraining.weights import DemonstrationSet
from soar.registry import packaged
from soar.robots.simulated import SimRobot
from soar.rollout.models import ModelsConfig
from soar.rollout.station import Station
from soar.rollout.station_config import episode_config, sim_stations
from soar.rollout.takeover import TakenAction
from soar.sim.expert.expert import Expert
from soar.sim.scenes.catalog import load_scene
from soar.training.policy import train_policy
from soar.types import Action, EpisodeSummary, Observation, Query
from soar.utils.statistics import Interval, wilson

FIRST_STEP, LENGTH = 50, 100
"""Control step from which the expert may take over, and those of an episode."""


class ExpertTakeover:
    """A scripted person with a budget of control steps."""

    def __init__(self, robot: SimRobot, share: float, past: list[EpisodeSummary]) -> None:
        """Watch a simulated arm. `share`: of all control steps; `past`: episodes that have used some of them."""
        self._robot, self._share = robot, share
        self._steps, self._taken = LENGTH * len(past), sum(e.interventions for e in past)
        self._expert: Expert | None = None

    def start(self, instruction: str) -> None:
        """See `Takeover.start`."""
        tasks = {t.instruction: t for t in self._robot.scene.tasks}
        self._goal, self._expert = tasks[instruction].goal, None
        self._steps += LENGTH

    def act(self, index: int, observation: Observation, action: Action) -> TakenAction | None:
        """See `Takeover.act`."""
        affordable = self._taken + LENGTH - FIRST_STEP <= self._share * self._steps
        if index == FIRST_STEP and affordable and not self._robot.world.fulfilled(self._goal):
            self._expert = Expert(self._robot.world, self._goal, np.random.default_rng(self._steps))
        if self._expert is None or self._expert.done:
            return None
        self._taken += 1
        return TakenAction(self._expert.act(), "expert")


@dataclass(frozen=True)
class Sizes:
    """Sizes of the experiment."""

    episodes: int
    trials: int
    steps: int
    demonstrations: int
    weight: float


def main() -> None:
    """Run what is missing, and write the table after each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", nargs="+", default=["dev1", "dev4"])
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.05, 0.2])
    parser.add_argument("--episodes", type=int, default=60, help="for each scene and share")
    parser.add_argument("--trials", type=int, default=15, help="of each task, before and after")
    parser.add_argument("--steps", type=int, default=200, help="gradient steps of 128 samples")
    parser.add_argument("--demonstrations", type=int, default=1200)
    parser.add_argument("--weight", type=float, default=1.0, help="of steps that were taken over")
    args = parser.parse_args()
    sizes = Sizes(args.episodes, args.trials, args.steps, args.demonstrations, args.weight)
    rows: list[str] = []
    rates: dict[str, dict[str, Interval]] = {name: {} for name in _SERIES}
    for scene in args.scenes:
        folder = args.out / scene
        before = _evaluate(scene, "gcbc", folder / "before", sizes)
        for share in args.shares:
            place = folder / f"{100 * share:g}"
            store = _collect(scene, share, place / "store", sizes)
            policy = _train(store, place, sizes)
            after = _evaluate(scene, policy, place / "after", sizes)
            rows.append(_row(scene, share, store, before, after))
            for name, rate in zip(_SERIES, _rates(store, before, after), strict=True):
                rates[name][f"{scene}, {share:.0%} of the steps"] = rate
            (args.out / "table.md").write_text(_HEAD + "".join(rows))
            plot_rates(rates).savefig(args.out / "takeovers.png", dpi=120)
            print(rows[-1], end="", flush=True)


_SERIES = ("own episodes, truly", "policy before", "policy after")
_HEAD = """| scene | takeovers: budget, used | episodes judged successful, truly | before | after | difference |
|---|---|---|---|---|---|
"""


def _collect(scene: str, share: float, path: Path, sizes: Sizes) -> LanceStore:
    """Collect what is missing of a store's episodes."""
    store = open_store(path, create=True)
    past = list(store.query(Query()))
    [station] = sim_stations(scene, 1)
    models = ModelsConfig()
    config = CollectionConfig(episode_config([station], models.subgoals))
    if (missing := sizes.episodes - len(past)) > 0:
        job = CollectionJob(path, models, config, episodes=missing)
        run_lockstep([station], job, threading.Event(), [], _expert_for(share, past))
    return open_store(path)


def _expert_for(share: float, past: list[EpisodeSummary]) -> Callable[[Station], ExpertTakeover]:
    def make(station: Station) -> ExpertTakeover:
        assert isinstance(station.simulation, SimRobot)
        return ExpertTakeover(station.simulation, share, past)

    return make


def _train(store: LanceStore, place: Path, sizes: Sizes) -> str:
    """Co-train the packaged policy on a store's successes. Returns its folder; the packaged one without a success."""
    query, method = Query(outcomes=("success",)), HindsightConfig(takeovers=sizes.weight)
    if next(iter(store.query(query)), None) is None:
        return "gcbc"
    out, fit = place / "policy", CoTrainConfig(steps=sizes.steps, save_every=50)
    start = load_checkpoint(packaged("gcbc"))
    recipe = fit.recipe(start)
    resolution = recipe.policy.resolution
    frames = with_takeovers(store, build_frames(store, query, resolution, place / "frames"))
    own = Source("autonomous", frames, fit.autonomous_share, method.goals, method.sum_steps)
    own = drop_idle_frames(own, method.min_motion_m)
    requested = DemonstrationSet(sizes.demonstrations, resolution=resolution, workers=1)
    given = bridge_demonstrations(requested, recipe, 0.0)
    weighted = Source("pretraining", given.frames, 1 - fit.autonomous_share, given.goals)
    train_policy(recipe, [weighted, *weight_takeovers(own, method.takeovers)], out, start=start)
    return str(out)


def _evaluate(scene: str, policy: str, folder: Path, sizes: Sizes) -> Evaluation:
    config = EvalConfig(policy, trials=sizes.trials)
    spec, setting = sim_protocol(config, [load_scene(scene)])
    return evaluate(spec, setting, folder, workers=1)


def _row(scene: str, share: float, store: LanceStore, before: Evaluation, after: Evaluation) -> str:
    episodes = list(store.query(Query()))
    used = sum(e.interventions for e in episodes) / sum(e.length for e in episodes)
    judged = sum(e.verdict.outcome == "success" for e in episodes)
    truly = sum(bool(e.provenance.truth) for e in episodes)
    change = compare(before, after).difference
    return (
        f"| {scene} | {share:.0%}, {used:.1%} | {judged} of {len(episodes)}, {truly} | "
        f"{_percent(before.overall())} | {_percent(after.overall())} | "
        f"{100 * change.value:+.0f} points ({100 * change.low:+.0f} to {100 * change.high:+.0f}) |\n"
    )


def _rates(
    store: LanceStore, before: Evaluation, after: Evaluation
) -> tuple[Interval, Interval, Interval]:
    """Rates of `_SERIES`."""
    truths = [bool(e.provenance.truth) for e in store.query(Query())]
    return wilson(sum(truths), len(truths)), before.overall(), after.overall()


def _percent(rate: Interval) -> str:
    return f"{rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%})"


if __name__ == "__main__":
    main()
