"""What a thing can be called besides its name: colour and kind, kind alone, "red object", "green veggie".

A name is used only where it fits one thing of the scene; a name for nothing fits none, not even nearly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soar.sim.objects.catalog import kind_of
from soar.sim.objects.kinds import KINDS
from soar.sim.objects.parts import COLORS
from soar.sim.scenes.spec import Scene, Thing

_ITEMS = tuple(name for name, kind in KINDS.items() if kind.role == "item")
_OTHER_WORDS = {
    "fruit": ("fruit", "lemon", "banana", "pear"),
    "veggie": ("veggie", "carrot", "eggplant", "pepper", "corn", "potato", "mushroom"),
    "vegetable": ("veggie", "carrot", "eggplant", "pepper", "corn", "potato", "mushroom"),
    "cube": ("block",),
    "pen": ("marker",),
    "dish": ("plate",),
    "towel": ("cloth",),
    "toy": _ITEMS,
    "object": _ITEMS,
    "thing": _ITEMS,
}
"""Other words for kinds of things, and all the kinds that each fits."""

_ALIKE_KINDS = (
    {"can", "cylinder", "cup", "bottle", "tower", "block"},
    {"bowl", "pot", "pan", "basket"},
    {"plate", "tray", "pan"},
    {"lemon", "potato", "pear", "fruit", "ball", "pepper", "mushroom"},
    {"marker", "brush", "spoon"},
    {"carrot", "corn", "banana", "eggplant", "fish", "veggie"},
)
_ALIKE_COLORS = (
    {"tan", "wooden", "brown", "orange", "yellow"},
    {"gray", "metal", "white", "black"},
    {"green", "dark green", "lime", "teal"},
    {"blue", "light blue", "teal", "purple"},
    {"red", "pink", "orange", "purple"},
)


def a_name(thing: Thing, scene: Scene, rng: np.random.Generator) -> str:
    """The scene's own name for a thing half the time, else another that fits no other thing there."""
    if rng.random() < 0.5:
        return thing.name
    others = [t for t in scene.things if t.name != thing.name]
    names = [thing.name]
    if not any(t.kind == thing.kind for t in others):
        names.append(thing.kind)
    if not any(t.kind == thing.kind and _alike_color(t, thing.color) for t in others):
        names.append(f"{thing.color} {thing.kind}")
    for word, kinds in _OTHER_WORDS.items():
        rivals = [t for t in others if t.kind in kinds and _alike_color(t, thing.color)]
        if thing.kind in kinds and not rivals:
            names.append(f"{thing.color} {word}")
    return names[int(rng.integers(len(names)))]


def absent_name(scene: Scene, rng: np.random.Generator) -> str:
    """Words for something that isn't in the scene, nor looks much like anything that is.

    Half of them share a colour or a kind with something that is there.
    """
    while True:
        kind, color = _pick(_ITEMS, rng), _pick(tuple(COLORS), rng)
        if rng.random() < 0.5:
            model = scene.things[int(rng.integers(len(scene.things)))]
            kind, color = (model.kind, color) if rng.random() < 0.5 else (kind, model.color)
        kin = [t for t in scene.things if _alike_kind(t, kind)]
        if not kin and (rng.random() < 0.3 or KINDS[kind].role in ("drawer", "cloth")):
            return kind
        if not any(_alike_color(t, color) for t in kin) and KINDS[kind].role in (
            "item",
            "container",
        ):
            return f"{color} {kind}"


def things_of(scene: Scene, role: str) -> list[str]:
    """Names of the scene's things of one role: "item", "container", "drawer" or "cloth"."""
    return [t.name for t in scene.things if kind_of(t).role == role]


def _alike_color(thing: Thing, color: str) -> bool:
    """Whether a person could call the thing's colour this."""
    return thing.color == color or any({thing.color, color} <= group for group in _ALIKE_COLORS)


def _alike_kind(thing: Thing, kind: str) -> bool:
    """Whether the thing could be taken for one of this kind from afar."""
    return thing.kind == kind or any({thing.kind, kind} <= group for group in _ALIKE_KINDS)


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
