"""Moments of the *broad* regime: one look each at an attempt that may be going wrong, and where everything would be next.

Foresight learns from these besides whole clips: they cost a tenth, so they come from many more scenes, and a
hand that wanders starts from anywhere. Labels are an expert's who goes on from there; they are places in the
image, no actions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int64, UInt8

from soar.data.prefetch import step_rng
from soar.errors import ConfigError, RobotFault
from soar.media import resize
from soar.processes import worker_pool
from soar.progress import progress_bar
from soar.sim.expert import Expert
from soar.sim.layout import is_feasible
from soar.sim.scenes import sample_scene
from soar.sim.spec import Scene, SceneTask
from soar.sim.world import World
from soar.subgoals.corpus import WORDS, Points
from soar.subgoals.foresight import FORESEEN
from soar.subgoals.play import CAMERA_PIXELS, places
from soar.words import SentenceEncoder

SOONEST, LATEST = 8, 12
"""How many control steps ahead places are noted."""
A_SCENE = 8
"""Moments of each scene."""
_LINGER = 0.3
"""How often a task that is done is looked at once more: then nothing should happen."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What is seen and felt now, and where everything is SOONEST to LATEST steps later."""

    images: UInt8[np.ndarray, "n r r 3"]
    points: Points
    later: Float32[np.ndarray, "n k 7 2"]
    states: Float32[np.ndarray, "n 7"]
    words: Float16[np.ndarray, "u l d"]
    """Token embeddings of each different instruction."""
    rows: Int64[np.ndarray, " n"]
    """Which of `words` is a moment's."""
    sided: Bool[np.ndarray, " n"]
    """Whether left and right are spoken of."""

    @classmethod
    def load(cls, folder: str | Path) -> Moments:
        """What `make_moments` saved."""
        with np.load(Path(folder) / "moments.npz") as file:
            return cls(**file)

    @classmethod
    def joined(cls, parts: Sequence[Moments]) -> Moments:
        """All of them, one after the other."""
        firsts = np.cumsum([0, *(len(p.words) for p in parts[:-1])])
        whole = {
            name: np.concatenate([getattr(p, name) for p in parts])
            for name in ("images", "points", "later", "states", "words", "sided")
        }
        rows = np.concatenate([p.rows + f for p, f in zip(parts, firsts, strict=True)])
        return cls(**whole, rows=rows)


class MomentBatches:
    """Random moments, each with a random one of the times that were noted; pure, as `SubgoalBatches`."""

    def __init__(self, moments: Moments, seed: int = 0) -> None:
        self.moments, self.seed = moments, seed

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """The same names as of `SubgoalBatches`, less what is painted."""
        m, rng = self.moments, step_rng(self.seed, step)
        now = rng.integers(len(m.images), size=size)[part]
        ahead = rng.integers(SOONEST, LATEST + 1, size)[part]
        return {
            "observation": m.images[now],
            "words": m.words[m.rows[now]].astype(np.float32),
            "ahead": ahead.astype(np.float32),
            "points": m.points[now],
            "places": m.later[now, ahead - SOONEST][:, FORESEEN],
            "states": m.states[now],
            "sided": m.sided[now],
        }


def make_moments(
    folder: str | Path, scenes: int, workers: int = 2, seed: int = 0, resolution: int = 96
) -> Moments:
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


def moments_in(scene: Scene, seed: int, resolution: int) -> dict[str, np.ndarray]:
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
    """A look, and what an expert would have made of it by LATEST steps later; the world stays as it is."""
    image, now, state = world.render(), places(world, task.goal), world.state()
    expert, later = Expert(world, task.goal, np.random.default_rng(0), noise=0.0), []
    before = world.snapshot()
    for step in range(1, LATEST + 1):
        if not expert.done:
            world.step(expert.act())
        if step >= SOONEST:
            later.append(places(world, task.goal))
    world.restore(before)
    return resize(image, resolution), now, np.stack(later), state, task.instruction


def _keep(folder: Path, seed: int, resolution: int) -> Path:
    path = folder / f"{seed:07d}.npz"
    if not path.exists():
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            made = moments_in(sample_scene("broad", seed), seed, resolution)
            np.savez(file, allow_pickle=False, **made)
        draft.rename(path)
    return path


def _assemble(made: list[dict[str, np.ndarray]], folder: Path) -> Moments:
    whole = {name: np.concatenate([m[name] for m in made]) for name in made[0]}
    instructions = [str(i) for i in whole.pop("instructions")]
    different = sorted(set(instructions))
    words = SentenceEncoder().tokens(different, WORDS).half().numpy()
    row = {text: i for i, text in enumerate(different)}
    moments = Moments(
        **whole,
        words=words,
        rows=np.array([row[i] for i in instructions]),
        sided=np.array([is_sided(i) for i in instructions]),
    )
    np.savez(folder / "moments.npz", **vars(moments))
    return moments


def is_sided(instruction: str) -> bool:
    """Whether the instruction speaks of left or right, so that it is another one in a mirror."""
    return not {"left", "right"}.isdisjoint(instruction.lower().split())
