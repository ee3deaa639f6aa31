"""True and false facts of a simulated scene: the answers of the VLM's training corpus and of its evaluation.

Privileged: it reads the simulator's state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from soar.pretraining.object_names import absent_name, names_by_role, sample_name
from soar.pretraining.question_templates import sample_wording
from soar.sim import predicates
from soar.sim.projection import project_point
from soar.sim.scenes.spec import ClothFolded, DrawerOpen, Inside, OnSide, Scene
from soar.sim.world import World
from soar.types import QuestionKind


@dataclass(frozen=True)
class Fact:
    """A statement about a scene's objects, and whether it is true."""

    kind: QuestionKind
    object: str
    """Name in the scene; "" for an object that isn't there."""
    container: str
    """Name in the scene; "" for none."""
    true: bool


WEIGHTS: dict[QuestionKind, float] = {
    "in": 6, "table": 1, "left": 1.5, "right": 1.5, "open": 4, "closed": 4,
    "folded": 4, "unfolded": 4, "present": 2.5,
}  # fmt: skip
"""Relative frequency of each kind among those that a scene allows; most tasks are about containment."""
ABSENT_SHARE = {"present": 0.3, "in": 0.05}
"""Share of a kind's questions about an object that isn't there."""


def facts_of(world: World) -> list[Fact]:
    """Return all facts about the objects of a scene in its present state."""
    scene, holds = world.scene, world.fulfilled
    items, containers = names_by_role(scene, "item"), names_by_role(scene, "container")
    pairs = [(i, c) for i in items for c in containers]
    drawers, cloths = names_by_role(scene, "drawer"), names_by_role(scene, "cloth")
    seen = objects_in_view(world)
    return [
        *(Fact("in", i, c, holds(Inside(i, c))) for i, c in pairs),
        *(Fact("table", i, c, holds(Inside(i, c, value=False))) for i, c in pairs),
        *(Fact("left", i, "", holds(OnSide(i, "left"))) for i in items),
        *(Fact("right", i, "", holds(OnSide(i, "right"))) for i in items),
        *(Fact("open", d, "", holds(DrawerOpen(d))) for d in drawers),
        *(Fact("closed", d, "", holds(DrawerOpen(d, value=False))) for d in drawers),
        *(Fact("folded", c, "", holds(ClothFolded(c))) for c in cloths),
        *(Fact("unfolded", c, "", holds(ClothFolded(c, value=False))) for c in cloths),
        *(Fact("present", t.name, "", t.name in seen) for t in scene.objects),
    ]


def objects_in_view(world: World) -> set[str]:
    """Return the names of the objects whose center is in the image; one that fell off the table isn't.

    An object out of reach is in view all the same, and so is one that the arm hides.
    """
    poses = {o.name: world.object_pose(o.name)[0] for o in world.scene.objects}
    on_table = {name: at for name, at in poses.items() if at[2] > predicates.FALLEN_M}
    return {name for name, at in on_table.items() if np.isfinite(project_point(world, at)).all()}


def sample_facts(facts: Sequence[Fact], count: int, rng: np.random.Generator) -> list[Fact]:
    """Sample `count` facts with replacement: kinds by WEIGHTS, true and false ones evenly if there are both."""
    by_kind: dict[QuestionKind, dict[bool, list[Fact]]] = defaultdict(lambda: defaultdict(list))
    for fact in facts:
        by_kind[fact.kind][fact.true].append(fact)
    kinds = list(by_kind)
    weights = np.array([WEIGHTS[k] for k in kinds])
    sampled = []
    for index in rng.choice(len(kinds), count, p=weights / weights.sum()):
        pools = list(by_kind[kinds[int(index)]].values())
        pool = pools[int(rng.integers(len(pools)))]
        fact = pool[int(rng.integers(len(pool)))]
        is_absent = rng.random() < ABSENT_SHARE.get(fact.kind, 0.0)
        sampled.append(replace(fact, object="", true=False) if is_absent else fact)
    return sampled


def sample_question(fact: Fact, scene: Scene, rng: np.random.Generator) -> str:
    """Sample a wording of the fact as a question, with unambiguous names of its objects."""
    by_name = {t.name: t for t in scene.objects}
    object = (
        sample_name(by_name[fact.object], scene, rng) if fact.object else absent_name(scene, rng)
    )
    container = sample_name(by_name[fact.container], scene, rng) if fact.container else ""
    return sample_wording(fact.kind, object, container, rng)
