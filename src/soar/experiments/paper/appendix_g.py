"""Which module fails, as the paper asks in appendix G: each replaced by the simulator's in turn.

    FOLDER/arms/system, expert-subgoals    success with the generator's subgoals, and with an expert's frames
    FOLDER/arms/expert-keypoints           success with an expert's keypoints, rendered by a compact generator
    FOLDER/expert.jsonl                    success of the expert itself, in place of the policy
    FOLDER/collected/                      episodes of the whole system; observed.jsonl: what the simulator knew
    FOLDER/appendix-g.json, .md            every number, and a table

The proposer is measured by the share of its proposals that are feasible, next to a random proposer's, and the detector
by the share of judged successes that are true. `hallucinations` tells how many subgoals lost or made up an object, and
how often the next one is right again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from soar.data.store.lance import open_store
from soar.evaluation.plots import format_change, format_rate
from soar.evaluation.results import Evaluation, TrialKey
from soar.experiments.paper.arms import Arm, run_study
from soar.experiments.paper.hallucinations import Hallucinations, find_hallucinations
from soar.experiments.paper.observed import (
    Attempt,
    feasible,
    observed_collection,
    precision,
    success,
)
from soar.experiments.paper.tables import overall, paired_difference, write_study
from soar.experiments.run_config import RunConfig
from soar.improvement.rounds import OnMessage
from soar.improvement.run import Run
from soar.registry import load_vlm, subgoals_spec
from soar.sim.expert.expert import Expert
from soar.sim.scenes.catalog import load_scene
from soar.sim.scenes.spec import Scene, SceneTask
from soar.sim.world import World
from soar.utils.files import append_lines, read_lines
from soar.utils.statistics import Interval, wilson

SYSTEM, EXPERT, KEYPOINTS = "system", "expert subgoals", "expert keypoints"


class _Measured(NamedTuple):
    """All that the table shows."""

    system: Sequence[Evaluation]
    expert_subgoals: Sequence[Evaluation]
    expert_keypoints: Sequence[Evaluation]
    """Empty unless the generator is a compact one."""
    expert: Interval
    hallucinations: Hallucinations
    attempts: Sequence[Attempt]


def reproduce_appendix_g(folder: Path, config: RunConfig, on_message: OnMessage) -> Path:
    """Evaluate and collect, or what is left of it; write numbers and table; return the table's path.

    Args:
        folder: folder for all of it.
        config: scenes, trials, and episodes that are collected in each.
        on_message: called with a few words before each stage.

    Raises:
        ConfigError: there is no such scene.
    """
    arms = {
        SYSTEM: Arm(None, config.policy, config.subgoals),
        EXPERT: Arm(None, config.policy, "expert"),
    }
    if subgoals_spec(config.subgoals).is_compact:
        arms[KEYPOINTS] = Arm(None, config.policy, f"expert:{config.subgoals}")
    found = run_study(folder, arms, config, on_message)
    on_message("the expert in place of the policy")
    expert = expert_success(folder / "expert.jsonl", config)
    on_message(f"collection, {config.episodes} episodes in each scene")
    run = Run(folder / "collected")
    attempts = observed_collection(config, run, config.policy, config.subgoals)
    on_message("objects that subgoals lost or made up")
    store = open_store(run.store, read_only=True)
    asked = find_hallucinations(store, load_vlm(config.collect.vlm))
    rendered = found.get(KEYPOINTS, ())
    measured = _Measured(found[SYSTEM], found[EXPERT], rendered, expert, asked, attempts)
    return write_study(folder, "appendix-g", _numbers(measured), _markdown(measured))


def expert_success(path: Path, config: RunConfig) -> Interval:
    """Return the success of the scripted expert from the same starts; outcomes are kept in a file, line by line."""
    steps = config.episode_config.length
    rows = [row for row in read_lines(path) if row["steps"] == steps]
    kept = {TrialKey(*row["start"]): row["done"] for row in rows}
    outcomes = []
    for scene in map(load_scene, config.scenes):
        for task in scene.tasks:
            for seed in range(config.first_seed, config.first_seed + config.trials):
                start = TrialKey(scene.name, task.instruction, seed)
                if start not in kept:
                    kept[start] = _expert_trial(scene, task, seed, steps)
                    append_lines(
                        path, [{"start": list(start), "steps": steps, "done": kept[start]}]
                    )
                outcomes.append(kept[start])
    return wilson(sum(outcomes), len(outcomes))


def _expert_trial(scene: Scene, task: SceneTask, seed: int, steps: int) -> bool:
    """Let the expert act from a start of the evaluation, without noise."""
    world = World(scene)
    try:
        world.reset(seed, task.goal)
        expert = Expert(world, task.goal, np.random.default_rng(seed), noise=0.0)
        for _ in range(steps):
            action = expert.act()
            if expert.done:
                break
            world.step(action)
        return world.fulfilled(task.goal)
    finally:
        world.close()


def random_proposals(attempts: Sequence[Attempt]) -> float:
    """Return the share of feasible proposals that a random proposer would have had in the same scenes."""
    return float(np.mean([a.feasible_share for a in attempts])) if attempts else float("nan")


def _numbers(m: _Measured) -> dict[str, object]:
    return {
        "system": overall(m.system)._asdict(),
        "expert_subgoals": overall(m.expert_subgoals)._asdict(),
        "expert_keypoints": overall(m.expert_keypoints)._asdict() if m.expert_keypoints else None,
        "subgoals_cost": paired_difference(m.system, m.expert_subgoals)._asdict(),
        "expert": m.expert._asdict(),
        "hallucinations": {
            name: {k: v._asdict() for k, v in wrong._asdict().items()}
            for name, wrong in m.hallucinations._asdict().items()
        },
        "collection": {
            "episodes": len(m.attempts),
            "feasible": feasible(m.attempts)._asdict(),
            "feasible_at_random": random_proposals(m.attempts),
            "success": success(m.attempts)._asdict(),
            "precision": precision(m.attempts)._asdict(),
        },
    }


def _markdown(m: _Measured) -> str:
    trials, episodes = sum(len(e.trials) for e in m.system), len(m.attempts)
    random = random_proposals(m.attempts)
    shown, camera = m.hallucinations

    def beside(name: str) -> str:
        return f"camera images: {format_rate(getattr(camera, name))}"

    rendered = (
        format_rate(overall(m.expert_keypoints)) if m.expert_keypoints else "no compact generator"
    )
    rows = [
        ("whole system, feasible tasks", format_rate(overall(m.system)), f"{trials} starts"),
        ("subgoals by an expert", format_rate(overall(m.expert_subgoals)), f"{trials} starts"),
        ("keypoints by an expert, rendered by the generator", rendered, f"{trials} starts"),
        ("what the generator's subgoals cost", format_change(paired_difference(m.system, m.expert_subgoals)), "points"),
        ("an expert in place of the policy", format_rate(m.expert), f"{trials} starts"),
        ("subgoals that lost an object", format_rate(shown.lost), beside("lost")),
        ("subgoals that made one up", format_rate(shown.made_up), beside("made_up")),
        ("of these, right again at the next", format_rate(shown.recovered), beside("recovered")),
        ("proposals that are feasible", format_rate(feasible(m.attempts)),
            f"{episodes} episodes; at random {random:.0%}"),
        ("success of feasible proposals", format_rate(success(m.attempts)), f"{episodes} episodes, some exploring"),
        ("judged successes that are true", format_rate(precision(m.attempts)), f"{episodes} episodes"),
    ]  # fmt: skip
    lines = ["| module | measured | |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
