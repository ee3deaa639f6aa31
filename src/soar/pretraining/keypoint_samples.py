"""Moments of the *broad* regime: one look each at an attempt that may be going wrong, and where everything would be next.

Foresight learns from these besides whole clips: they cost a tenth, so they come from many more scenes, and a
hand that wanders starts from anywhere. Labels are an expert's who goes on from there; they are places in the
image, no actions.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from itertools import count
from pathlib import Path

import numpy as np

from soar.errors import ConfigError, RobotFault
from soar.nn.text import SentenceEncoder
from soar.pretraining.clips import CAMERA_PIXELS, places
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
from soar.utils.files import cache_folder
from soar.utils.media import resize
from soar.utils.processes import worker_pool
from soar.utils.progress import progress_bar

A_SCENE = 8
"""Moments of each scene."""
_OTHERS_SEED = 900_000
"""First scene of the samples that fine-tuning keeps beside a robot's own."""
_LINGER = 0.3
"""How often a task that is done is looked at once more: then nothing should happen."""


def make_keypoint_samples(
    folder: str | Path, scenes: int, workers: int = 2, seed: int = 0, resolution: int = 96
) -> KeypointSamples:
    """Moments of the scenes `seed`, `seed + 1`, ... of the *broad* regime, so many scenes of them.

    Each scene is kept in `folder/scenes` as it is finished, so that a call that was cut short goes on.
    """
    if scenes < 1:
        raise ConfigError(f"moments of {scenes} scenes; valid: at least 1")
    folder = Path(folder)
    (folder / "scenes").mkdir(parents=True, exist_ok=True)
    made: list[dict[str, np.ndarray]] = []
    with progress_bar() as bar, worker_pool(workers) as pool:
        line = bar.add_task("scenes to foresee in", total=scenes, note="")
        seeds, running = count(seed), deque[Future[Path]]()
        while len(made) < scenes:
            while len(running) < 3 * workers:
                running.append(pool.submit(_keep, folder / "scenes", next(seeds), resolution))
            with np.load(running.popleft().result()) as file:
                if len(file["instructions"]):
                    made.append(dict(file))
            bar.update(line, completed=len(made))
    return _assemble(made, folder)


def samples_in(scene: Scene, seed: int, resolution: int) -> dict[str, np.ndarray]:
    """The moments of one scene. Empty where things don't fit on the table or the physics diverged."""
    rng, rows = np.random.default_rng(seed), []
    world = World(scene, CAMERA_PIXELS)
    try:
        task = scene.tasks[int(rng.integers(len(scene.tasks)))]
        world.reset(seed, task.goal)
        for _ in range(A_SCENE):
            _struggle(world, task, rng)
            if world.objects_lost():
                break
            if world.fulfilled(task.goal) and rng.random() > _LINGER:
                feasible = [t for t in scene.tasks if is_feasible(world, t.goal)]
                if not feasible:
                    break
                task = feasible[int(rng.integers(len(feasible)))]
            rows.append(_moment(world, task, resolution))
    except (RobotFault, ConfigError):
        pass
    finally:
        world.close()
    names = ("images", "points", "later", "states", "instructions")
    return {n: np.array([r[i] for r in rows]) for i, n in enumerate(names)}


def _struggle(world: World, task: SceneTask, rng: np.random.Generator) -> None:
    """A few steps at the task, or at another one by mistake, or of nothing but drift."""
    chance = rng.random()
    if chance > 0.75:
        size, gripper = float(np.exp(rng.uniform(np.log(0.004), np.log(0.03)))), rng.random() < 0.5
        move = rng.normal(0, size, 3)
        for _ in range(int(rng.integers(1, 9))):
            move = 0.8 * move + rng.normal(0, 0.4 * size, 3)
            world.step(np.array([*move, *rng.normal(0, 0.05, 3), gripper], np.float32))
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


def _moment(
    world: World, task: SceneTask, resolution: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    """A look, and what an expert would have made of it by MAX_STEPS_AHEAD steps later; the world stays as it is."""
    image, now, state = world.render(), places(world, task.goal), world.state()
    expert, later = Expert(world, task.goal, np.random.default_rng(0), noise=0.0), []
    before = world.snapshot()
    for step in range(1, MAX_STEPS_AHEAD + 1):
        if not expert.done:
            world.step(expert.act())
        if step >= MIN_STEPS_AHEAD:
            later.append(places(world, task.goal))
    world.restore(before)
    return resize(image, resolution), now, np.stack(later), state, task.instruction


def _keep(folder: Path, seed: int, resolution: int) -> Path:
    path = folder / f"{seed:07d}.npz"
    if not path.exists():
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            made = samples_in(sample_scene("broad", seed), seed, resolution)
            np.savez(file, allow_pickle=False, **made)
        draft.rename(path)
    return path


def _assemble(made: list[dict[str, np.ndarray]], folder: Path) -> KeypointSamples:
    whole = {name: np.concatenate([m[name] for m in made]) for name in made[0]}
    instructions = [str(i) for i in whole.pop("instructions")]
    different = sorted(set(instructions))
    words = SentenceEncoder().tokens(different, MAX_TOKENS).half().numpy()
    row = {text: i for i, text in enumerate(different)}
    moments = KeypointSamples(
        **whole,
        words=words,
        rows=np.array([row[i] for i in instructions]),
        sided=np.array([mentions_side(i) for i in instructions]),
    )
    np.savez(folder / "moments.npz", **vars(moments))
    return moments


def other_scene_samples(scenes: int, workers: int) -> KeypointSamples:
    """Keypoint samples of other random scenes, so that fine-tuning in one scene forgets nothing.

    They are made once and then kept in the cache folder.
    """
    folder = cache_folder() / "moments" / f"{scenes}"
    return make_keypoint_samples(folder, scenes, workers, _OTHERS_SEED)
