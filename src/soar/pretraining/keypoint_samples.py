"""Keypoint samples of the *broad* regime: single states with the keypoints that an expert would reach from them.

The keypoint predictor learns from these besides whole clips. They cost a tenth, so they come from many more scenes, and
they start from states that failing attempts and drift lead to. The labels are image positions, not actions.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from soar.errors import ConfigError, RobotFault
from soar.nn.text import SentenceEncoder
from soar.pretraining.clips import goal_keypoints
from soar.pretraining.scene_arrays import Arrays, generate_scene_arrays
from soar.sim.expert.expert import Expert
from soar.sim.layout import is_feasible
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Scene, SceneTask
from soar.sim.world import World
from soar.subgoals.clips import MAX_TOKENS
from soar.training.keypoint_samples import (
    MAX_STEPS_AHEAD,
    MIN_STEPS_AHEAD,
    KeypointSamples,
    mentions_side,
)
from soar.utils.files import cache_folder, replace_file
from soar.utils.media import resize
from soar.utils.progress import progress_bar

SAMPLES_PER_SCENE = 8
_OTHER_SCENES_SEED = 900_000
"""Seed of the first scene of the samples that fine-tuning mixes with a robot's own."""
_DONE_PROBABILITY = 0.3
"""Probability that a fulfilled task is sampled once more; its label is that nothing moves."""


def make_keypoint_samples(
    folder: str | Path, scenes: int, workers: int = 2, seed: int = 0, resolution: int = 96
) -> KeypointSamples:
    """Generate the samples of random scenes, or resume an interrupted generation.

    Args:
        folder: folder of the samples and, in `scenes`, of those of each scene.
        scenes: number of scenes that have samples.
        workers: number of processes; the result doesn't depend on it.
        seed: seed of the first scene.
        resolution: image side in pixels.

    Raises:
        ConfigError: `scenes` is less than 1.
    """
    if scenes < 1:
        raise ConfigError(f"keypoint samples of {scenes} scenes; valid: at least 1")
    folder, generate = Path(folder), partial(_scene_samples, resolution=resolution)
    parts: list[Arrays] = []
    with (
        progress_bar() as bar,
        closing(generate_scene_arrays(folder / "scenes", generate, seed, workers)) as generated,
    ):
        line = bar.add_task("scenes of keypoint samples", total=scenes, note="")
        while len(parts) < scenes:
            arrays = next(generated)
            if len(arrays["instructions"]):
                parts.append(arrays)
            bar.update(line, completed=len(parts))
    samples = _join(parts)
    with replace_file(folder / "moments.npz") as file:
        np.savez(file, **vars(samples))
    return samples


def other_scene_samples(scenes: int, workers: int) -> KeypointSamples:
    """Return samples of random scenes, which keep fine-tuning in one scene from forgetting.

    They are generated once and kept in the cache folder.
    """
    folder = cache_folder() / "moments" / f"{scenes}"
    return make_keypoint_samples(folder, scenes, workers, _OTHER_SCENES_SEED)


def samples_in(scene: Scene, seed: int, resolution: int) -> Arrays:
    """Generate the samples of one scene; empty where the objects don't fit on the table or the physics diverged."""
    rng, rows = np.random.default_rng(seed), []
    world = World(scene)
    try:
        task = scene.tasks[int(rng.integers(len(scene.tasks)))]
        world.reset(seed, task.goal)
        for _ in range(SAMPLES_PER_SCENE):
            _perturb(world, task, rng)
            if world.objects_lost():
                break
            if world.fulfilled(task.goal) and rng.random() > _DONE_PROBABILITY:
                feasible = [t for t in scene.tasks if is_feasible(world, t.goal)]
                if not feasible:
                    break
                task = feasible[int(rng.integers(len(feasible)))]
            rows.append(_sample(world, task, resolution))
    except (RobotFault, ConfigError):
        pass
    finally:
        world.close()
    names = ("images", "points", "later", "states", "instructions")
    return {n: np.array([r[i] for r in rows]) for i, n in enumerate(names)}


def _scene_samples(seed: int, resolution: int) -> Arrays:
    return samples_in(sample_scene("broad", seed), seed, resolution)


def _perturb(world: World, task: SceneTask, rng: np.random.Generator) -> None:
    """Take a few steps of the task, of another one by mistake, or of random drift."""
    chance = rng.random()
    if chance > 0.75:
        size, gripper = float(np.exp(rng.uniform(np.log(0.004), np.log(0.03)))), rng.random() < 0.5
        drift = rng.normal(0, size, 3)
        for _ in range(int(rng.integers(1, 9))):
            drift = 0.8 * drift + rng.normal(0, 0.4 * size, 3)
            world.step(np.array([*drift, *rng.normal(0, 0.05, 3), gripper], np.float32))
        return
    others = [t for t in world.scene.tasks if is_feasible(world, t.goal)]
    if chance > 0.62 and others:
        task = others[int(rng.integers(len(others)))]
    expert = Expert(world, task.goal, rng, noise=float(rng.uniform(0.5, 2)))
    for _ in range(int(rng.integers(2, 13))):
        action = expert.act()
        if expert.done:
            return
        world.step(action)


def _sample(
    world: World, task: SceneTask, resolution: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    """Return image, keypoints, keypoints after an expert's next steps, state and instruction; the world stays as it is."""
    image, points, state = world.render(), goal_keypoints(world, task.goal), world.state()
    expert, later = Expert(world, task.goal, np.random.default_rng(0), noise=0.0), []
    before = world.snapshot()
    for step in range(1, MAX_STEPS_AHEAD + 1):
        if not expert.done:
            world.step(expert.act())
        if step >= MIN_STEPS_AHEAD:
            later.append(goal_keypoints(world, task.goal))
    world.restore(before)
    return resize(image, resolution), points, np.stack(later), state, task.instruction


def _join(parts: list[Arrays]) -> KeypointSamples:
    arrays = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    instructions = [str(i) for i in arrays.pop("instructions")]
    distinct = sorted(set(instructions))
    row = {text: i for i, text in enumerate(distinct)}
    return KeypointSamples(
        **arrays,
        words=SentenceEncoder().tokens(distinct, MAX_TOKENS).half().numpy(),
        rows=np.array([row[i] for i in instructions]),
        sided=np.array([mentions_side(i) for i in instructions]),
    )
