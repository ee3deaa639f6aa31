"""Keypoint samples of the *broad* regime: single states with the keypoints that an expert would reach from them.

The keypoint predictor learns from these besides whole clips. They cost a tenth, so they come from many more scenes, and
they start from states that failing attempts and drift lead to, or the packaged system itself (DAgger). Each state is
shown in several styles, which costs little compared with its physics. The labels are image positions, not actions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from soar.errors import ConfigError, RobotFault
from soar.interfaces import Policy, SubgoalGenerator
from soar.nn.text import SentenceEncoder
from soar.pretraining.clips import goal_positions
from soar.pretraining.dagger import attempt, system_models
from soar.pretraining.scene_arrays import Arrays, generate_scene_arrays
from soar.pretraining.views import styled_views
from soar.robots.simulated import SimRobot
from soar.rollout.station import EpisodeConfig
from soar.sim.expert.expert import Expert
from soar.sim.layout import NoRoom, is_feasible
from soar.sim.projection import project_points
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Scene, SceneTask
from soar.sim.world import World
from soar.subgoals.clips import MAX_TOKENS
from soar.training.keypoint_samples import (
    MAX_STEPS_AHEAD,
    MIN_STEPS_AHEAD,
    SAMPLES_FILE,
    KeypointSamples,
    KeypointSampleSet,
    mentions_side,
)
from soar.types import Image, State
from soar.utils.files import cache_folder, replace_file
from soar.utils.media import resize
from soar.utils.progress import progress_bar

LABELS = "labels-2"
"""Part of the names of folders of kept samples; changes whenever labels do, so that older samples aren't used."""
EXPERT_SEED, SYSTEM_SEED = 800_000, 500_000
"""Seeds of the first scenes of an expert's samples and of a system's, far from the clips' scenes."""
STATES_PER_SCENE = 8
_OTHER_SCENES_SEED = 900_000
"""Seed of the first scene of the samples that fine-tuning mixes with a robot's own."""
_DONE_PROBABILITY = 0.3
"""Probability that a fulfilled task is sampled once more; its label is that nothing moves."""
_ATTEMPT = EpisodeConfig(num_subgoals=10, steps_per_subgoal=10)


@dataclass(frozen=True)
class KeypointSampleConfig:
    """Contents of a scene's samples."""

    resolution: int = 96
    """Image side in pixels."""
    views: int = 1
    """Images of each state: one of the scene itself, the others with other colors, names, table, camera and light."""
    system: tuple[str, str] | None = None
    """Names of the policy and the subgoal generator whose attempt gives the states; None: an expert, disturbed."""


class Sample(NamedTuple):
    """One image with its labels."""

    images: Image
    points: Float32[np.ndarray, "7 2"]
    later: Float32[np.ndarray, "k 7 2"]
    states: State
    instructions: str


def make_keypoint_samples(
    folder: str | Path,
    scenes: int,
    workers: int = 2,
    seed: int = 0,
    config: KeypointSampleConfig | None = None,
) -> KeypointSamples:
    """Generate the samples of random scenes, or resume an interrupted generation.

    Args:
        folder: folder of the samples and, in `scenes`, of those of each scene.
        scenes: number of scenes that have samples.
        workers: number of processes; the result doesn't depend on it.
        seed: seed of the first scene.
        config: contents of a scene's samples.

    Raises:
        ConfigError: `scenes` is less than 1.
    """
    if scenes < 1:
        raise ConfigError(f"keypoint samples of {scenes} scenes; valid: at least 1")
    config = config or KeypointSampleConfig()
    folder, generate = Path(folder), partial(_broad_samples, config=config)
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
    if (kept := _kept(folder, parts)) is not None:
        return kept
    samples = _join(parts)
    with replace_file(folder / SAMPLES_FILE) as file:
        np.savez(file, **vars(samples))
    return samples


def _kept(folder: Path, parts: Sequence[Arrays]) -> KeypointSamples | None:
    """Return the samples of an earlier call if they are these: embedding the instructions again takes minutes."""
    try:
        kept = KeypointSamples.load(folder)
    except ConfigError:  # there is none, or it is damaged
        return None
    return (
        kept if np.array_equal(kept.states, np.concatenate([p["states"] for p in parts])) else None
    )


def other_scene_samples(scenes: int, workers: int) -> KeypointSamples:
    """Return samples of random scenes, which keep fine-tuning in one scene from forgetting.

    They are generated once and kept in the cache folder.
    """
    folder = cache_folder() / "keypoint-samples" / f"{LABELS}-{scenes}"
    return make_keypoint_samples(folder, scenes, workers, _OTHER_SCENES_SEED)


def expert_and_system_samples(
    requested: KeypointSampleSet, cache: Path, system: tuple[str, str], identity: str
) -> tuple[KeypointSamples, KeypointSamples]:
    """Make samples of a disturbed expert's states and of a system's, or read those that a folder keeps.

    Args:
        requested: numbers of scenes and images.
        cache: the folder.
        system: names of its policy and its subgoal generator.
        identity: name of the system in the folder; tells its samples from those of others.
    """
    first, workers = requested.scene_offset, requested.workers
    at = cache / f"keypoint-samples-{requested.views}-{LABELS}"

    def make(name: str, scenes: int, seed: int, acting: tuple[str, str] | None) -> KeypointSamples:
        folder = at / (f"{name}-from-{first}" if first else name)
        config = KeypointSampleConfig(views=requested.views, system=acting)
        return make_keypoint_samples(folder, scenes, workers, seed + first, config)

    return (
        make("expert", requested.scenes, EXPERT_SEED, None),
        make(f"dagger-{identity}", requested.dagger_scenes, SYSTEM_SEED, system),
    )


def samples_in(scene: Scene, seed: int, config: KeypointSampleConfig) -> list[Sample]:
    """Generate the samples of one scene, to where its physics diverges; none if the objects don't fit on the table."""
    rng, samples = np.random.default_rng(seed), list[Sample]()
    world = World(scene)
    try:
        for task in _perturbed_states(world, seed, rng):
            samples += _samples(world, task, config, rng)
    except (RobotFault, NoRoom):
        pass
    finally:
        world.close()
    return samples


def dagger_samples(
    scene: Scene,
    seed: int,
    models: tuple[Policy, SubgoalGenerator],
    config: KeypointSampleConfig,
) -> list[Sample]:
    """Generate samples of the states in which a policy and a subgoal generator request subgoals for a random task."""
    rng, samples = np.random.default_rng(seed), list[Sample]()
    task = scene.tasks[int(rng.integers(len(scene.tasks)))]
    robot = SimRobot(scene, seed=0)

    def record(world: World) -> None:
        if not world.fulfilled(task.goal) or rng.random() < _DONE_PROBABILITY:
            samples.extend(_samples(world, task, config, rng))

    try:
        attempt(robot, task, seed, models, record, rng, _ATTEMPT)
    except (RobotFault, NoRoom):
        pass
    finally:
        robot.close()
    return samples


def _broad_samples(seed: int, config: KeypointSampleConfig) -> Arrays:
    """Return the samples of the *broad* scene with this seed as arrays."""
    scene = sample_scene("broad", seed)
    found = (
        dagger_samples(scene, seed, system_models(*config.system), config)
        if config.system
        else samples_in(scene, seed, config)
    )
    columns = zip(*found, strict=True) if found else [()] * len(Sample._fields)
    return {name: np.array(column) for name, column in zip(Sample._fields, columns, strict=True)}


def _perturbed_states(world: World, seed: int, rng: np.random.Generator) -> Iterator[SceneTask]:
    """Bring the world into states along the way of its tasks and off it, and yield the task to sample in each."""
    scene = world.scene
    task = scene.tasks[int(rng.integers(len(scene.tasks)))]
    world.reset(seed, task.goal)
    for _ in range(STATES_PER_SCENE):
        _perturb(world, task, rng)
        if world.objects_lost():
            return
        if world.fulfilled(task.goal) and rng.random() > _DONE_PROBABILITY:
            feasible = [t for t in scene.tasks if is_feasible(world, t.goal)]
            if not feasible:
                return
            task = feasible[int(rng.integers(len(feasible)))]
        yield task


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


def _samples(
    world: World, task: SceneTask, config: KeypointSampleConfig, rng: np.random.Generator
) -> Iterator[Sample]:
    """Yield the views of the present state with their labels; the world stays as it is."""
    now, state = goal_positions(world, task.goal), world.state()
    later = _expert_positions(world, task)
    for style in styled_views(world, config.views, rng):
        yield Sample(
            images=resize(world.render(), config.resolution),
            points=project_points(world, now),
            later=np.stack([project_points(world, positions) for positions in later]),
            states=state,
            instructions=_renamed(task.instruction, world.scene, style),
        )


def _expert_positions(world: World, task: SceneTask) -> list[Float64[np.ndarray, "7 3"]]:
    """Return the keypoints' positions MIN_ to MAX_STEPS_AHEAD steps later if an expert acts; the world stays."""
    expert = Expert(world, task.goal, np.random.default_rng(0), noise=0.0, predictable=True)
    later = []
    before = world.snapshot()
    for step in range(1, MAX_STEPS_AHEAD + 1):
        if not expert.done:
            world.step(expert.act())
        if step >= MIN_STEPS_AHEAD:
            later.append(goal_positions(world, task.goal))
    world.restore(before)
    return later


def _renamed(instruction: str, scene: Scene, style: Scene) -> str:
    """Return an instruction with the objects' names of another style."""
    names = {o.name: s.name for o, s in zip(scene.objects, style.objects, strict=True)}
    longest_first = sorted(map(re.escape, names), key=len, reverse=True)
    return re.sub(rf"\b({'|'.join(longest_first)})\b", lambda m: names[m[1]], instruction)


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
