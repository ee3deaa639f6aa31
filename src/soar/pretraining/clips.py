"""Clip corpus of the *broad* regime: the scripted expert follows instructions in random scenes, as people do in videos.

A clip holds images at the model's resolution, the instruction, the image positions of the arm and the objects that the
instruction names, and the robot's states. Actions are left out, so nothing in it shows how to control the arm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from soar.data.frame_cache import Frames
from soar.errors import ConfigError, RobotFault
from soar.pretraining.demonstrations import demonstrate, disturb
from soar.pretraining.scene_arrays import Arrays, generate_scene_arrays
from soar.sim.layout import NoRoom, is_feasible
from soar.sim.projection import arm_positions, project_points
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import ClothFolded, DoorOpen, DrawerOpen, Goal, Inside, Scene
from soar.sim.world import World
from soar.subgoals.clips import ClipCorpus, Points
from soar.types import ACTION_DIM, Episode, EpisodeSummary, Image, Provenance, Verdict
from soar.utils.media import resize
from soar.utils.progress import progress_bar


@dataclass(frozen=True)
class ClipConfig:
    """Behavior of the scripted expert in a scene."""

    resolution: int = 96
    """Image side in pixels; images are rendered as by a station's camera and then reduced."""
    max_tasks: int = 3
    """Largest number of tasks in a row in one scene."""
    max_steps: int = 80
    """Control steps after which an attempt is abandoned and dropped."""
    home_probability: float = 0.6
    """Probability that the arm goes home between two tasks; otherwise the next one starts where it is."""
    disturb_probability: float = 0.5
    """Probability that a clip starts after a failed attempt, and so shows the recovery."""
    speed: tuple[float, float] = (1.0, 1.0)
    """Range of the speed factor; constant, so that a number of steps ahead means the same in every clip."""
    noise: tuple[float, float] = (0.5, 2.0)
    """Range of the noise factor."""


class Clip(NamedTuple):
    """One instruction followed to its end."""

    instruction: str
    images: UInt8[np.ndarray, "n r r 3"]
    points: Points
    states: Float32[np.ndarray, "n 7"]
    done: Bool[np.ndarray, " n"]
    """Whether the instruction is fulfilled. For measurements only: no subgoal generator learns from it."""


ClipMaker: TypeAlias = Callable[[int, ClipConfig], list[Clip]]
"""Picklable function from a scene's seed to its clips."""


def make_clip_corpus(
    folder: str | Path,
    episodes: int = 4000,
    workers: int = 2,
    seed: int = 0,
    config: ClipConfig | None = None,
    maker: ClipMaker | None = None,
) -> ClipCorpus:
    """Generate a corpus of successful episodes, resume an interrupted generation, or extend a smaller corpus.

    Args:
        folder: folder of the corpus and, in `scenes`, of its scenes.
        episodes: number of episodes.
        workers: number of processes; the result doesn't depend on it.
        seed: seed of the first scene.
        config: behavior of the expert.
        maker: generator of a scene's clips; `sampled_clips` by default.

    Raises:
        ConfigError: `episodes` is less than 1.
    """
    if episodes < 1:
        raise ConfigError(f"a clip corpus of {episodes} episodes; valid: at least 1")
    folder, config = Path(folder), config or ClipConfig()
    generate = partial(_scene_arrays, maker or sampled_clips, config)
    clips: list[Clip] = []
    with (
        progress_bar() as bar,
        closing(generate_scene_arrays(folder / "scenes", generate, seed, workers)) as scenes,
    ):
        line = bar.add_task("clips", total=episodes, note="")
        while len(clips) < episodes:
            clips += _clips_from(next(scenes))
            bar.update(line, completed=min(len(clips), episodes))
    corpus = _join(clips[:episodes], seed)
    corpus.save(folder)
    return corpus


def record_clips(scene: Scene, seed: int, config: ClipConfig) -> Iterator[Clip]:
    """Record successful clips of one scene, task after task without a reset; ends after a failure."""
    rng = np.random.default_rng(seed)
    world = LabeledWorld(scene)
    try:
        task = scene.tasks[int(rng.integers(len(scene.tasks)))]
        world.reset(seed, task.goal)
        for _ in range(int(rng.integers(1, config.max_tasks + 1))):
            if rng.random() < config.disturb_probability and not disturb(world, task, rng):
                return
            world.start_labels(task.goal)
            speed, noise = rng.uniform(*config.speed), rng.uniform(*config.noise)
            episode = demonstrate(world, task, rng, config.max_steps, noise=noise, speed=speed)
            if not episode.provenance.truth:
                return
            yield clip_of(episode, world, config.resolution)
            feasible = [t for t in scene.tasks if is_feasible(world, t.goal)]
            if world.objects_lost() or not feasible:
                return
            task = feasible[int(rng.integers(len(feasible)))]
            if rng.random() < config.home_probability:
                world.home()
    except (RobotFault, NoRoom):  # the physics diverged, or the objects don't fit on the table
        return
    finally:
        world.close()


def sampled_clips(seed: int, config: ClipConfig) -> list[Clip]:
    """Record the clips of the *broad* regime's scene with this seed."""
    return list(record_clips(sample_scene("broad", seed), seed, config))


class LabeledWorld(World):
    """A world that records keypoints and success with every image that it renders."""

    goal: Goal
    points: list[Float32[np.ndarray, "7 2"]]
    done: list[bool]

    def start_labels(self, goal: Goal) -> None:
        """Start new records for a goal."""
        self.goal, self.points, self.done = goal, [], []

    def render(self, size: int | None = None) -> Image:
        """Render the camera's image and record its labels."""
        self.points.append(goal_keypoints(self, self.goal))
        self.done.append(self.fulfilled(self.goal))
        return super().render(size)


def goal_keypoints(world: World, goal: Goal) -> Float32[np.ndarray, "7 2"]:
    """Return the image positions of a goal's objects and of the arm, in the order of `soar.subgoals.clips.Points`."""
    return project_points(world, goal_positions(world, goal))


def goal_positions(world: World, goal: Goal) -> Float64[np.ndarray, "7 3"]:
    """Return the positions in the world [m] that `goal_keypoints` projects; NaN for none."""
    gripper, _ = world.gripper_pose()
    nowhere = np.full(3, np.nan)
    objects = [world.object_pose(name)[0] if name else nowhere for name in _objects_of(goal)]
    return np.array([*objects, gripper, *arm_positions(world)])


def clip_of(episode: Episode, world: LabeledWorld, resolution: int) -> Clip:
    """Combine an episode with the labels that its world recorded."""
    images = resize(episode.images, resolution)
    points, done = np.stack(world.points), np.array(world.done)
    return Clip(episode.instruction, images, points, episode.states, done)


def _objects_of(goal: Goal) -> tuple[str | None, str | None]:
    """Return the names of a goal's object and container."""
    match goal:
        case Inside():
            return goal.object, goal.container
        case DrawerOpen():
            return goal.drawer, None
        case ClothFolded():
            return goal.cloth, None
        case DoorOpen():
            return goal.cabinet, None
        case _:
            return goal.object, None


def _scene_arrays(maker: ClipMaker, config: ClipConfig, seed: int) -> Arrays:
    """Return a scene's clips as arrays: the instructions, and the fields of clip `i` under names that end in `i`."""
    clips = maker(seed, config)
    arrays = {"instructions": np.array([c.instruction for c in clips], dtype=np.str_)}
    for i, clip in enumerate(clips):
        _, *fields = clip
        names = Clip._fields[1:]
        arrays |= {f"{name}{i}": array for name, array in zip(names, fields, strict=True)}
    return arrays


def _clips_from(arrays: Arrays) -> list[Clip]:
    return [
        Clip(str(text), *(arrays[f"{name}{i}"] for name in Clip._fields[1:]))
        for i, text in enumerate(arrays["instructions"])
    ]


def _join(clips: Sequence[Clip], seed: int) -> ClipCorpus:
    starts = np.cumsum([0, *(len(c.images) for c in clips)])
    origin = Provenance("play", "broad", "", seed, 0.0, "expert", truth=True)
    verdict = Verdict("success", 1.0, judge="simulator")
    frames = Frames(
        images=np.concatenate([c.images for c in clips]),
        states=np.concatenate([c.states for c in clips]),
        actions=np.zeros((int(starts[-1]), ACTION_DIM), np.float32),
        starts=starts,
        episodes=tuple(
            EpisodeSummary(str(i), c.instruction, len(c.images) - 1, verdict, origin)
            for i, c in enumerate(clips)
        ),
    )
    return ClipCorpus.from_frames(frames, np.concatenate([c.points for c in clips]))
