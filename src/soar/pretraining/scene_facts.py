"""What is true of a simulated scene, as facts to ask about: the answers of the training corpus.

Privileged: it reads the simulator's own state. Only the corpus and the measuring of detectors use it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from soar.pretraining import question_templates as templates
from soar.pretraining.object_names import a_name, absent_name, things_of
from soar.sim.scenes.spec import ClothFolded, DrawerOpen, Inside, OnSide, Scene
from soar.sim.world import World
from soar.tasks.questions import QuestionKind


@dataclass(frozen=True)
class Fact:
    """Something to ask about, and whether it is so."""

    kind: QuestionKind
    thing: str
    """Its name in the scene; "" for something that isn't there."""
    container: str
    true: bool


WEIGHTS: dict[QuestionKind, float] = {
    "in": 6, "table": 1, "left": 1.5, "right": 1.5, "open": 4, "closed": 4,
    "folded": 4, "unfolded": 4, "present": 2.5,
}  # fmt: skip
"""How often each kind is asked where it can be: containment most, for most tasks are about it."""
ABOUT_NOTHING = {"present": 0.5, "in": 0.05}
"""Share of a kind's questions that ask about something that isn't there."""


def facts_of(world: World) -> list[Fact]:
    """Everything that can be asked about what is in the scene as it is now."""
    scene, holds = world.scene, world.fulfilled
    items, containers = things_of(scene, "item"), things_of(scene, "container")
    pairs = [(i, c) for i in items for c in containers]
    drawers, cloths = things_of(scene, "drawer"), things_of(scene, "cloth")
    lost = world.objects_lost()
    return [
        *(Fact("in", i, c, holds(Inside(i, c))) for i, c in pairs),
        *(Fact("table", i, c, holds(Inside(i, c, value=False))) for i, c in pairs),
        *(Fact("left", i, "", holds(OnSide(i, "left"))) for i in items),
        *(Fact("right", i, "", holds(OnSide(i, "right"))) for i in items),
        *(Fact("open", d, "", holds(DrawerOpen(d))) for d in drawers),
        *(Fact("closed", d, "", holds(DrawerOpen(d, value=False))) for d in drawers),
        *(Fact("folded", c, "", holds(ClothFolded(c))) for c in cloths),
        *(Fact("unfolded", c, "", holds(ClothFolded(c, value=False))) for c in cloths),
        *(Fact("present", t.name, "", t.name not in lost) for t in scene.things),
    ]


def draw(found: Sequence[Fact], count: int, rng: np.random.Generator) -> list[Fact]:
    """`count` facts: kinds by WEIGHTS, yes and no as evenly as there are, repeats where there are few."""
    by_kind: dict[QuestionKind, dict[bool, list[Fact]]] = defaultdict(lambda: defaultdict(list))
    for fact in found:
        by_kind[fact.kind][fact.true].append(fact)
    kinds = list(by_kind)
    weights = np.array([WEIGHTS[k] for k in kinds])
    drawn = []
    for index in rng.choice(len(kinds), count, p=weights / weights.sum()):
        pools = list(by_kind[kinds[int(index)]].values())
        pool = pools[int(rng.integers(len(pools)))]
        fact = pool[int(rng.integers(len(pool)))]
        nothing = rng.random() < ABOUT_NOTHING.get(fact.kind, 0.0)
        drawn.append(replace(fact, thing="", true=False) if nothing else fact)
    return drawn


def in_words(fact: Fact, scene: Scene, rng: np.random.Generator) -> str:
    """The fact as a question, things called by names that fit only them."""
    things = {t.name: t for t in scene.things}
    thing = a_name(things[fact.thing], scene, rng) if fact.thing else absent_name(scene, rng)
    container = a_name(things[fact.container], scene, rng) if fact.container else ""
    return templates.ask_in_words(fact.kind, thing, container, rng)
