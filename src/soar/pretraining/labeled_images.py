"""What the compact eyes learn from: images of simulated scenes, questions in many words, true answers.

A scene is played with for a while (a scripted hand puts, opens and folds, is stopped halfway, or wanders)
and looked at on the way, so that arms occlude, things hang in the air, and bowls are hovered over. With
each question goes where in the picture its things are, as a pointing finger would say it: that is used in
training only. `soar.pretraining.scene_facts` knows what is true, `soar.pretraining.question_templates` and `soar.pretraining.object_names` how to ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Bool, Float32

from soar.errors import RobotFault
from soar.pretraining.scene_facts import Fact, draw, facts_of, in_words
from soar.sim.expert.expert import Expert
from soar.sim.model import look_at
from soar.sim.projection import project_point
from soar.sim.scenes import variation
from soar.sim.scenes.spec import Scene
from soar.sim.world import World
from soar.tasks.questions import QuestionKind
from soar.types import Action, Image
from soar.utils.media import resize

CAMERA_PIXELS = 256
"""Images are rendered as a station's camera gives them and then made smaller, as in serving."""


@dataclass(frozen=True)
class LabeledImageConfig:
    """How a scene is played with."""

    resolution: int = 96
    questions: int = 12
    """For each image."""
    images: int = 10
    """Of each scene of a corpus."""
    activities: int = 4
    """Things done before everything is placed anew."""
    moments: int = 4
    """Moments of an activity that are looked at, its end included."""
    views: int = 2
    """Images of each moment, from the scene's own camera and from others near it."""
    view_m: float = 0.06
    """How far, along each axis, the other cameras are moved."""
    abandoned: float = 0.35
    """Share of activities that are stopped on the way."""
    wandering: float = 0.2
    """Share of activities without a goal."""


@dataclass(frozen=True, eq=False)
class LabeledImage:
    """One image and what is asked about it."""

    image: Image
    questions: tuple[str, ...]
    kinds: tuple[QuestionKind, ...]
    answers: Bool[np.ndarray, "q"]
    points: Float32[np.ndarray, "q 2 2"]
    """x and y in the image, each in [-1, 1], of thing and container; NaN where there is nothing to point at."""


def label_scene(scene: Scene, seed: int, config: LabeledImageConfig) -> Iterator[LabeledImage]:
    """Looks at one scene without end, the same ones for the same seed; ends if its physics diverges."""
    rng = np.random.default_rng(seed)
    for world in sampled_moments(scene, config, rng):
        yield from labeled_images(world, config, rng)


def sampled_moments(
    scene: Scene, config: LabeledImageConfig, rng: np.random.Generator
) -> Iterator[World]:
    """The scene's world, again and again, each time at a moment worth looking at."""
    world = World(scene, CAMERA_PIXELS)
    try:
        while True:
            world.reset(int(rng.integers(2**31)))
            yield world
            for _ in range(config.activities):
                for _ in _activity(world, config, rng):
                    yield world
    except RobotFault:  # what was seen before still counts
        return
    finally:
        world.close()


def labeled_images(
    world: World, config: LabeledImageConfig, rng: np.random.Generator
) -> Iterator[LabeledImage]:
    """The scene as it is now, from several places and in other light, each with its own questions."""
    yield labeled_image(world, config, rng)
    plain = variation.Appearance.of(world.model)
    for _ in range(config.views - 1):
        moved = rng.uniform(-1, 1, 3) * config.view_m
        world.model.cam_pos[0] += moved
        world.model.cam_quat[0] = look_at(world.scene.camera, moved)
        world.model.light_diffuse[:] *= rng.uniform(0.8, 1.2)
        mujoco.mj_camlight(world.model, world.data)
        yield labeled_image(world, config, rng)
        plain.put(world.model)
    mujoco.mj_camlight(world.model, world.data)


def labeled_image(
    world: World, config: LabeledImageConfig, rng: np.random.Generator
) -> LabeledImage:
    """The scene as it is now, with questions drawn for it."""
    facts = draw(facts_of(world), config.questions, rng)
    return LabeledImage(
        image=resize(world.render(), config.resolution),
        questions=tuple(in_words(fact, world.scene, rng) for fact in facts),
        kinds=tuple(fact.kind for fact in facts),
        answers=np.array([fact.true for fact in facts]),
        points=np.stack([_points(world, fact) for fact in facts]),
    )


def _activity(world: World, config: LabeledImageConfig, rng: np.random.Generator) -> Iterator[None]:
    """Do something; stops at moments on the way, often when the gripper has just moved, and at the end."""
    stops, was_open = 1, True
    for action in _wander(rng) if rng.random() < config.wandering else _pursue(world, config, rng):
        world.step(action)
        turned, was_open = was_open != (action[6] > 0.5), bool(action[6] > 0.5)
        if stops < config.moments and rng.random() < (0.5 if turned else 0.1):
            stops += 1
            yield
    if rng.random() < 0.3:
        world.home()
    yield


def _pursue(world: World, config: LabeledImageConfig, rng: np.random.Generator) -> Iterator[Action]:
    """The scripted hand at a task that isn't done yet, to its end or not quite."""
    undone = [t.goal for t in world.scene.tasks if not world.fulfilled(t.goal)]
    if not undone:
        return
    goal = undone[int(rng.integers(len(undone)))]
    expert = Expert(world, goal, rng, noise=float(rng.uniform(0.5, 2.0)))
    for _ in range(int(rng.integers(4, 30)) if rng.random() < config.abandoned else 70):
        action = expert.act()
        if expert.done:
            return
        yield action


def _wander(rng: np.random.Generator) -> Iterator[Action]:
    """Smooth random motion that opens and closes the gripper now and then."""
    drift, gripper = rng.normal(0, 0.02, 3), float(rng.random() < 0.5)
    for _ in range(int(rng.integers(6, 20))):
        drift = 0.8 * drift + rng.normal(0, 0.012, 3)
        gripper = 1 - gripper if rng.random() < 0.1 else gripper
        yield np.array([*drift, *rng.normal(0, 0.05, 3), gripper], np.float32)


def _points(world: World, fact: Fact) -> Float32[np.ndarray, "2 2"]:
    seen = {t.name for t in world.scene.things} - set(world.objects_lost())
    names = (fact.thing, fact.container)
    return np.stack(
        [project_point(world, world.thing_pose(n)[0] if n in seen else None) for n in names]
    )
