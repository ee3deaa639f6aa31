"""How often DIAL's labels are right: which instruction did an expert's episode fulfill?

    python -m benchmarks.dial --episodes 300 --out runs/dial

The expert acts in sampled scenes that no packaged model has seen, half of its episodes after a failed attempt.
The success detector judges each against all tasks of its scene, as `soar improve --method dial` does with own episodes;
a label is right if the simulator finds that task undone before and done at the end. Writes labels.jsonl and a summary.
The same command resumes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from soar.errors import ConfigError, RobotFault
from soar.pretraining.demonstrations import demonstrate, disturb
from soar.rollout.models import ModelsConfig
from soar.sim.scenes.regimes import sample_scene
from soar.sim.world import World
from soar.tasks.grammar import task_from_instruction
from soar.tasks.success_detector import judge_episodes
from soar.types import EpisodeFrames, Images
from soar.utils.statistics import wilson

FIRST_SEED = 5_000_000
"""Seed of the first scene; pretraining ends far below."""
MAX_STEPS = 80


def main() -> None:
    """Label what is missing, and print the shares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--regime", default="bridge", help="bridge or broad")
    parser.add_argument("--detector", default="vlm", help="as in soar collect --detector")
    args = parser.parse_args()
    path = args.out / "labels.jsonl"
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    detector = ModelsConfig(detector=args.detector).load_detector()
    first = rows[-1]["seed"] + 1 if rows else FIRST_SEED
    for seed, given, images, fulfilled in _episodes(args.regime, first):
        if len(rows) >= args.episodes:
            break
        tasks = [task_from_instruction(instruction) for instruction in fulfilled]
        verdicts = judge_episodes(detector, [EpisodeFrames(task, images) for task in tasks])
        p = [verdict.p_success or 0.0 for verdict in verdicts]
        label = tasks[int(np.argmax(p))].instruction
        rows.append(
            {"seed": seed, "given": given, "label": label, "p_success": max(p), "tasks": len(tasks),
             "fulfilled": [i for i, done in fulfilled.items() if done]}
        )  # fmt: skip
        with path.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(f"\r{len(rows)}/{args.episodes}", end="", flush=True)
    _summarize(rows)


def _episodes(regime: str, first: int) -> Iterator[tuple[int, str, Images, dict[str, bool]]]:
    """Yield seed, given instruction, first and last frame, and whether each task of the scene was fulfilled."""
    for seed in count(first):
        rng = np.random.default_rng(seed)
        try:
            scene = sample_scene(regime, seed)
            world = World(scene)
        except ConfigError:
            continue
        try:
            task = scene.tasks[int(rng.integers(len(scene.tasks)))]
            world.reset(seed, task.goal)
            if rng.random() < 0.5 and not disturb(world, task, rng):
                continue
            undone = [not world.fulfilled(t.goal) for t in scene.tasks]
            episode = demonstrate(world, task, rng, MAX_STEPS, seed=seed)
            if episode.provenance.truth:
                fulfilled = {
                    t.instruction: was and world.fulfilled(t.goal)
                    for t, was in zip(scene.tasks, undone, strict=True)
                }
                yield seed, task.instruction, episode.images[[0, -1]], fulfilled
        except (ConfigError, RobotFault):
            continue
        finally:
            world.close()


def _summarize(rows: list[dict[str, Any]]) -> None:
    """Print the shares of right labels with their 95 % intervals."""
    right = [row["label"] in row["fulfilled"] for row in rows]
    sure = [r for r, row in zip(right, rows, strict=True) if row["p_success"] >= 0.5]
    given = [row["label"] == row["given"] for row in rows]
    tasks = np.mean([row["tasks"] for row in rows])
    print(f"\n{len(rows)} episodes, {tasks:.1f} tasks a scene")
    for name, values in (
        ("the given instruction", given),
        ("right", right),
        ("right, of those with P(success) from 0.5", sure),
    ):
        _, low, high = wilson(sum(values), len(values))
        print(f"{name}: {np.mean(values):.1%} ({low:.1%} to {high:.1%}) of {len(values)}")


if __name__ == "__main__":
    main()
