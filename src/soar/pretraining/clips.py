"""A corpus of the *broad* regime: a scripted hand follows instructions in random scenes, as people do in videos.

Kept are the images at the model's resolution, the words, where in each image the arm and the things are that
the instruction names, as a pointing finger would say it, and what the arm felt. Actions are left out: nothing
here tells how to move.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from soar.data.frame_cache import Frames
from soar.errors import ConfigError, RobotFault
from soar.pretraining.demonstrations import demonstrate, disturb
from soar.sim.layout import is_feasible
from soar.sim.projection import arm_keypoints, project_point
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import ClothFolded, DrawerOpen, Goal, Inside, Scene
from soar.sim.world import World
from soar.subgoals.clips import ClipCorpus, Points
from soar.types import ACTION_DIM, Episode, EpisodeSummary, Image, Provenance, Verdict
from soar.utils.media import resize
from soar.utils.processes import worker_pool
from soar.utils.progress import progress_bar

CAMERA_PIXELS = 256
"""Images are rendered as a station's camera gives them and then made smaller, as in serving."""


@dataclass(frozen=True)
class ClipConfig:
    """What the scripted hand does."""

    resolution: int = 96
    tasks: int = 3
    """Most tasks in a row in one scene."""
    max_steps: int = 80
    """An attempt that takes longer is given up and not kept."""
    home: float = 0.6
    """Chance that the arm goes home between two tasks; otherwise it starts where it is."""
    disturbed: float = 0.5
    """Chance that a clip begins where an attempt went wrong, so that clips start anywhere and show the way out."""
    speed: tuple[float, float] = (1.0, 1.0)
    """Range of its pace: one, so that so many steps ahead mean the same everywhere."""
    noise: tuple[float, float] = (0.5, 2.0)
    """Range of its waver."""


class Clip(NamedTuple):
    """One instruction followed to its end."""

    instruction: str
    images: UInt8[np.ndarray, "n r r 3"]
    points: Points
    states: Float32[np.ndarray, "n 7"]
    done: Bool[np.ndarray, " n"]
    """Whether the instruction is fulfilled. For measuring only: no subgoal generator learns from it."""


ClipMaker: TypeAlias = Callable[[int, ClipConfig], list[Clip]]
"""From a scene's seed to its clips; picklable."""


def make_clip_corpus(
    folder: str | Path,
    episodes: int = 4000,
    workers: int = 2,
    seed: int = 0,
    config: ClipConfig | None = None,
    maker: ClipMaker | None = None,
) -> ClipCorpus:
    """The first `episodes` successful episodes of scenes `seed`, `seed + 1`, ... of the *broad* regime.

    `maker` makes the clips of each seed's scene, in worker processes; `sampled_clips` by default.

    Scenes are kept in `folder/scenes` as they are finished, so that a call that was cut short goes on,
    and one that asks for more adds to them. The result doesn't depend on `workers`.
    """
    if episodes < 1:
        raise ConfigError(f"{episodes} episodes to imagine from; valid: at least 1")
    folder, config, maker = Path(folder), config or ClipConfig(), maker or sampled_clips
    (folder / "scenes").mkdir(parents=True, exist_ok=True)
    clips: list[Clip] = []
    with (
        progress_bar() as bar,
        worker_pool(workers) as pool,
    ):
        line = bar.add_task("episodes to imagine from", total=episodes, note="")
        seeds, running = count(seed), deque[Future[Path]]()
        while len(clips) < episodes:
            while len(running) < 3 * workers:
                running.append(pool.submit(_keep, folder / "scenes", maker, next(seeds), config))
            clips += _read(running.popleft().result())
            bar.update(line, completed=min(len(clips), episodes))
    corpus = _assemble(clips[:episodes], seed)
    corpus.save(folder)
    return corpus


def record_clips(scene: Scene, seed: int, config: ClipConfig) -> Iterator[Clip]:
    """Successful clips of one scene, task after task without a reset; it ends early after a failure."""
    rng = np.random.default_rng(seed)
    world = LabeledWorld(scene, CAMERA_PIXELS)
    try:
        task = scene.tasks[int(rng.integers(len(scene.tasks)))]
        world.reset(seed, task.goal)
        for _ in range(int(rng.integers(1, config.tasks + 1))):
            if rng.random() < config.disturbed and not disturb(world, task, rng):
                return
            world.watch(task.goal)
            pace, waver = rng.uniform(*config.speed), rng.uniform(*config.noise)
            episode = demonstrate(world, task, rng, config.max_steps, noise=waver, speed=pace)
            if not episode.provenance.truth:
                return
            yield clip_of(episode, world, config.resolution)
            feasible = [t for t in scene.tasks if is_feasible(world, t.goal)]
            if world.objects_lost() or not feasible:
                return
            task = feasible[int(rng.integers(len(feasible)))]
            if rng.random() < config.home:
                world.home()
    except (RobotFault, ConfigError):  # the physics diverged, or the things don't fit on the table
        return
    finally:
        world.close()


def sampled_clips(seed: int, config: ClipConfig) -> list[Clip]:
    """The clips of the *broad* regime's scene of this seed."""
    return list(record_clips(sample_scene("broad", seed), seed, config))


class LabeledWorld(World):
    """A world that notes, for every image it renders, where the things are that a goal speaks of."""

    goal: Goal
    points: list[Float32[np.ndarray, "7 2"]]
    done: list[bool]

    def watch(self, goal: Goal) -> None:
        """Begin new notes."""
        self.goal, self.points, self.done = goal, [], []

    def render(self, size: int | None = None) -> Image:
        """What the camera sees now, noted."""
        self.points.append(places(self, self.goal))
        self.done.append(self.fulfilled(self.goal))
        return super().render(size)


def places(world: World, goal: Goal) -> Float32[np.ndarray, "7 2"]:
    """Where the camera sees the things that a goal speaks of, and the arm; as in `corpus.Points`."""
    hand, _ = world.gripper_pose()
    where = [world.object_pose(name)[0] if name else None for name in _things_of(goal)]
    return np.concatenate([[project_point(world, p) for p in (*where, hand)], arm_keypoints(world)])


def clip_of(episode: Episode, world: LabeledWorld, resolution: int) -> Clip:
    """A demonstration in a watched world, with what the world noted."""
    images = resize(episode.images, resolution)
    points, done = np.stack(world.points), np.array(world.done)
    return Clip(episode.instruction, images, points, episode.states, done)


def _things_of(goal: Goal) -> tuple[str | None, str | None]:
    if isinstance(goal, Inside):
        return goal.object, goal.container
    if isinstance(goal, DrawerOpen):
        return goal.drawer, None
    if isinstance(goal, ClothFolded):
        return goal.cloth, None
    return goal.object, None


def _keep(folder: Path, maker: ClipMaker, seed: int, config: ClipConfig) -> Path:
    """Make one scene's clips in a worker, unless they were made before; returns where they are."""
    path = folder / f"{seed:07d}.npz"
    if path.exists():
        return path
    clips = maker(seed, config)
    arrays = {"instructions": np.array([c.instruction for c in clips], dtype=np.str_)}
    for i, clip in enumerate(clips):
        parts = {
            "images": clip.images,
            "points": clip.points,
            "states": clip.states,
            "done": clip.done,
        }
        arrays |= {f"{name}{i}": array for name, array in parts.items()}
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    draft.rename(path)
    return path


def _read(path: Path) -> list[Clip]:
    with np.load(path) as file:
        return [
            Clip(
                str(text), *(file[f"{name}{i}"] for name in ("images", "points", "states", "done"))
            )
            for i, text in enumerate(file["instructions"])
        ]


def _assemble(clips: Sequence[Clip], seed: int) -> ClipCorpus:
    starts = np.cumsum([0, *(len(c.images) for c in clips)])
    origin = Provenance("play", "broad", "", seed, 0.0, "expert", truth=True)
    verdict = Verdict("success", 1.0, judge="simulator")
    n = int(starts[-1])
    frames = Frames(
        images=np.concatenate([c.images for c in clips]),
        states=np.concatenate([c.states for c in clips]),
        actions=np.zeros((n, ACTION_DIM), np.float32),
        starts=starts,
        episodes=tuple(
            EpisodeSummary(str(i), c.instruction, len(c.images) - 1, verdict, origin)
            for i, c in enumerate(clips)
        ),
    )
    return ClipCorpus.from_frames(frames, np.concatenate([c.points for c in clips]))
