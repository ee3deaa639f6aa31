"""Names of a scene's objects: by color and kind, by kind alone, "red object", "green veggie".

A name is used only if it fits one object of the scene; a name of an absent object fits none, not even nearly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soar.sim.objects.kinds import KINDS, kind_of
from soar.sim.objects.parts import COLORS
from soar.sim.scenes.spec import Scene, SceneObject

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
"""Further nouns, and all the kinds of object that each fits."""

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


def sample_name(target: SceneObject, scene: Scene, rng: np.random.Generator) -> str:
    """Sample the scene's own name of an object with probability 1/2, else another one that fits no other object."""
    if rng.random() < 0.5:
        return target.name
    others = [t for t in scene.objects if t.name != target.name]
    names = [target.name]
    if not any(t.kind == target.kind for t in others):
        names.append(target.kind)
    if not any(t.kind == target.kind and _alike_color(t, target.color) for t in others):
        names.append(f"{target.color} {target.kind}")
    for word, kinds in _OTHER_WORDS.items():
        rivals = [t for t in others if t.kind in kinds and _alike_color(t, target.color)]
        if target.kind in kinds and not rivals:
            names.append(f"{target.color} {word}")
    return names[int(rng.integers(len(names)))]


def absent_name(scene: Scene, rng: np.random.Generator) -> str:
    """Sample a name of an object that isn't in the scene and looks like none that is.

    Half of these names share a color or a kind with an object of the scene.
    """
    while True:
        kind, color = _pick(_ITEMS, rng), _pick(tuple(COLORS), rng)
        if rng.random() < 0.5:
            model = scene.objects[int(rng.integers(len(scene.objects)))]
            kind, color = (model.kind, color) if rng.random() < 0.5 else (kind, model.color)
        similar = [t for t in scene.objects if _alike_kind(t, kind)]
        if not similar and (rng.random() < 0.3 or KINDS[kind].role in ("drawer", "cloth")):
            return kind
        if not any(_alike_color(t, color) for t in similar) and KINDS[kind].role in (
            "item",
            "container",
        ):
            return f"{color} {kind}"


def names_by_role(scene: Scene, role: str) -> list[str]:
    """Return the names of the scene's objects of one role: "item", "container", "drawer" or "cloth"."""
    return [t.name for t in scene.objects if kind_of(t).role == role]


def _alike_color(target: SceneObject, color: str) -> bool:
    """Whether a person could call the object's color this."""
    return target.color == color or any({target.color, color} <= group for group in _ALIKE_COLORS)


def _alike_kind(target: SceneObject, kind: str) -> bool:
    """Whether the object could be mistaken for one of this kind."""
    return target.kind == kind or any({target.kind, kind} <= group for group in _ALIKE_KINDS)


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
