"""Training images of the compact VLM: simulated scenes with questions in many wordings and true answers.

The scripted expert acts in a scene, sometimes only halfway, or the arm wanders; images are taken on the way, so that
arms occlude objects, objects hang in the air and grippers hover over bowls. Each question comes with the image
positions of its objects, which serve only as training targets. `soar.pretraining.scene_facts` provides the answers,
`soar.pretraining.question_templates` and `soar.pretraining.object_names` the words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32

from soar.errors import RobotFault
from soar.pretraining.scene_facts import (
    Fact,
    facts_of,
    objects_in_view,
    sample_facts,
    sample_question,
)
from soar.pretraining.views import styled_views
from soar.sim.expert.expert import Expert
from soar.sim.layout import NoRoom
from soar.sim.projection import project_point
from soar.sim.scenes.spec import Scene
from soar.sim.world import World
from soar.types import Action, Image, QuestionKind
from soar.utils.media import resize

_FRUITLESS = 5
"""Resets in a row without a state after which a scene is given up."""


@dataclass(frozen=True)
class LabeledImageConfig:
    """Number of images and questions of a scene, and what happens in it."""

    resolution: int = 96
    """Image side in pixels."""
    questions: int = 12
    """Questions per image."""
    images: int = 10
    """Images per scene of a corpus."""
    activities: int = 4
    """Activities between two resets of the scene."""
    stops: int = 4
    """Most stops of an activity at which images are taken, its end included."""
    views: int = 5
    """Images per stop: one of the scene itself, the others with other colors, table, camera and light."""
    scattered: float = 0.3
    """Share of resets after which the objects are scattered, as practice leaves them."""
    abandoned: float = 0.35
    """Share of the expert's activities that end early."""
    wandering: float = 0.2
    """Share of activities without a goal."""


@dataclass(frozen=True, eq=False)
class LabeledImage:
    """One image with its questions and their answers."""

    image: Image
    questions: tuple[str, ...]
    kinds: tuple[QuestionKind, ...]
    answers: Bool[np.ndarray, "q"]
    points: Float32[np.ndarray, "q 2 2"]
    """Image positions of object and container, x right and y down in [-1, 1]; NaN for none."""


def label_scene(scene: Scene, seed: int, config: LabeledImageConfig) -> Iterator[LabeledImage]:
    """Generate images of one scene without end, the same ones for the same seed. Errors: as `sample_states`."""
    rng = np.random.default_rng(seed)
    for world in sample_states(scene, config, rng):
        yield from labeled_images(world, config, rng)


def sample_states(
    scene: Scene, config: LabeledImageConfig, rng: np.random.Generator
) -> Iterator[World]:
    """Generate states of a scene without end: yields the same world, each time in another state.

    After diverged physics, and where the objects found no place, the scene is reset.

    Raises:
        NoRoom: several resets in a row gave no state.
    """
    world = World(scene)
    fruitless = 0
    try:
        while fruitless < _FRUITLESS:
            fruitless += 1
            with suppress(RobotFault, NoRoom):
                world.reset(int(rng.integers(2**31)))
                if config.scattered and rng.random() < config.scattered:
                    world.scatter(rng)
                fruitless = 0
                yield world
                for _ in range(config.activities):
                    for _ in _activity(world, config, rng):
                        yield world
    finally:
        world.close()
    raise NoRoom(
        f"scene '{scene.name}': {_FRUITLESS} resets in a row gave no image: its objects don't fit on the table, or its "
        "physics diverges; valid: a scene that `soar sim sheet` draws"
    )


def labeled_images(
    world: World, config: LabeledImageConfig, rng: np.random.Generator
) -> Iterator[LabeledImage]:
    """Generate images of a random scene's present state in several styles, each with its own questions."""
    facts = facts_of(world)
    for style in styled_views(world, config.views, rng):
        yield labeled_image(world, facts, style, config, rng)


def labeled_image(
    world: World,
    facts: Sequence[Fact],
    style: Scene,
    config: LabeledImageConfig,
    rng: np.random.Generator,
) -> LabeledImage:
    """Return an image of the present state with sampled questions.

    Args:
        world: the scene, restyled as `style`.
        facts: facts about the world's objects.
        style: scene whose colors and names to ask about; its objects correspond to the world's by their order.
        config: number of questions, and the image's resolution.
        rng: samples facts and words.
    """
    sampled = sample_facts(facts, config.questions, rng)
    names = {o.name: s.name for o, s in zip(world.scene.objects, style.objects, strict=True)}
    named = [
        replace(f, object=names.get(f.object, ""), container=names.get(f.container, ""))
        for f in sampled
    ]
    points = {"": np.full(2, np.nan, np.float32)} | {
        name: project_point(world, world.object_pose(name)[0]) for name in objects_in_view(world)
    }
    nowhere = points[""]
    return LabeledImage(
        image=resize(world.render(), config.resolution),
        questions=tuple(sample_question(fact, style, rng) for fact in named),
        kinds=tuple(fact.kind for fact in sampled),
        answers=np.array([fact.true for fact in sampled]),
        points=np.array(
            [[points.get(n, nowhere) for n in (f.object, f.container)] for f in sampled], np.float32
        ),
    )


def _activity(world: World, config: LabeledImageConfig, rng: np.random.Generator) -> Iterator[None]:
    """Perform an activity; yields at its stops, more often right after the gripper moved, and at its end."""
    stops, was_open = 1, True
    for action in _wander(rng) if rng.random() < config.wandering else _pursue(world, config, rng):
        world.step(action)
        turned, was_open = was_open != (action[6] > 0.5), bool(action[6] > 0.5)
        if stops < config.stops and rng.random() < (0.5 if turned else 0.1):
            stops += 1
            yield
    if rng.random() < 0.3:
        world.home()
    yield


def _pursue(world: World, config: LabeledImageConfig, rng: np.random.Generator) -> Iterator[Action]:
    """Actions of the scripted expert for a task that isn't done yet, to its end or not quite."""
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
    """Smooth random motion that sometimes opens or closes the gripper."""
    drift, gripper = rng.normal(0, 0.02, 3), float(rng.random() < 0.5)
    for _ in range(int(rng.integers(6, 20))):
        drift = 0.8 * drift + rng.normal(0, 0.012, 3)
        gripper = 1 - gripper if rng.random() < 0.1 else gripper
        yield np.array([*drift, *rng.normal(0, 0.05, 3), gripper], np.float32)
