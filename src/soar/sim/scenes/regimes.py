"""The regimes *broad* and *bridge*: what a random scene of each is made of, and what *bridge* never shows.

*bridge* stands for BridgeData V2: a narrower set of things, tables and cameras, with actions.
*broad* stands for what Internet-scale models saw: everything, in all colours, from many viewpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from soar.errors import ConfigError
from soar.sim.objects.kinds import KINDS
from soar.sim.objects.parts import COLORS
from soar.sim.scenes.instructions import (
    ASIDE,
    CLOSE,
    FOLD,
    OPEN,
    PUT,
    TAKE_IN,
    TAKE_ON,
    UNFOLD,
    fold_and_unfold,
    move_aside,
    open_and_close,
    put_and_take,
)
from soar.sim.scenes.paper_scenes import NOMINAL, SCENES
from soar.sim.scenes.spec import Camera, Scene, SceneObject, SceneTask, Table
from soar.sim.scenes.tables import TABLES

Pair = tuple[str, str]
"""Kind and colour."""


@dataclass(frozen=True)
class Unseen:
    """What *bridge* lacks, so that the ten scenes are new to a policy pretrained on it."""

    pairs: frozenset[Pair]
    tables: frozenset[str]
    barriers: bool = True


UNSEEN = Unseen(
    pairs=frozenset(
        {
            ("block", "green"),
            ("block", "blue"),
            ("fruit", "red"),
            ("eggplant", "purple"),
            ("marker", "green"),
            ("lemon", "yellow"),
            ("spoon", "green"),
            ("spoon", "pink"),
            ("veggie", "green"),
            ("bowl", "wooden"),
            ("bowl", "brown"),
            ("plate", "green"),
            ("drawer", "white"),
            ("cloth", "teal"),
        }
    ),
    tables=frozenset({"walnut", "slate", "tile"}),
)
"""14 of *soar*'s 19 objects and three of its five tables; its cameras are outside *bridge*'s range."""

UNSEEN_DEV = Unseen(
    pairs=frozenset(
        (t.kind, t.color) for s in SCENES.values() if s.regime == "dev" for t in s.objects
    ),
    tables=frozenset(s.table.name for s in SCENES.values() if s.regime == "dev"),
)
"""The development scenes' own: also new to *bridge*, and disjoint from `UNSEEN`."""

_PAINT = tuple(c for c in COLORS if c not in ("wooden", "metal", "tan"))

BROAD_COLORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(KINDS, _PAINT),
    **dict.fromkeys(("bowl", "tray", "basket", "cylinder", "spoon"), (*_PAINT, "wooden", "metal")),
    "plate": (*_PAINT, "wooden"),
    "pot": ("metal", "black", "red", "blue", "white", "gray"),
    "pan": ("metal", "black", "red", "gray"),
    "can": (*_PAINT, "metal"),
    "drawer": ("white", "wooden", "gray", "blue", "brown", "green", "pink", "black"),
    "fruit": ("red", "green", "yellow", "orange", "purple"),
    "lemon": ("yellow", "lime", "orange"),
    "carrot": ("orange", "purple"),
    "eggplant": ("purple", "black", "white"),
    "mushroom": ("tan", "brown", "white", "red"),
    "veggie": ("green", "lime", "dark green"),
    "banana": ("yellow", "green"),
    "corn": ("yellow", "orange"),
    "pear": ("green", "yellow", "lime"),
    "potato": ("brown", "tan"),
    "pepper": ("red", "green", "yellow", "orange"),
    "fish": ("blue", "orange", "red", "gray", "teal", "pink"),
}
"""Colours by kind in *broad*: all of them."""

_BRIDGE_KINDS = (
    "block", "carrot", "mushroom", "banana", "corn", "pepper", "can", "cup", "sponge", "cylinder",
    "marker", "spoon", "bowl", "plate", "pot", "tray", "drawer", "cloth",
)  # fmt: skip

BRIDGE_COLORS: dict[str, tuple[str, ...]] = {
    kind: tuple(c for c in BROAD_COLORS[kind] if (kind, c) not in UNSEEN.pairs | UNSEEN_DEV.pairs)
    for kind in _BRIDGE_KINDS
}
"""Colours by kind in *bridge*: of fewer kinds, those that the ten scenes and the development scenes lack."""

BRIDGE_TABLES = ("oak", "white", "gray", "birch", "sand")
BROAD_TABLES = tuple(t for t in TABLES if t not in UNSEEN.tables | UNSEEN_DEV.tables)


@dataclass(frozen=True)
class CameraRange:
    """Where a regime's cameras may stand: the nominal one, plus or minus so much along each axis."""

    position_m: float
    look_at_m: float
    fovy_deg: float

    def draw(self, rng: np.random.Generator) -> Camera:
        """A camera of this range."""
        p = np.asarray(NOMINAL.position) + rng.uniform(-1, 1, 3) * self.position_m
        at = np.asarray(NOMINAL.look_at) + rng.uniform(-1, 1, 3) * self.look_at_m * (1, 1, 0)
        fovy = NOMINAL.fovy_deg + rng.uniform(-1, 1) * self.fovy_deg
        return Camera(tuple(p.tolist()), tuple(at.tolist()), float(fovy))


@dataclass(frozen=True)
class Ingredients:
    """What a regime's random scenes are drawn from."""

    colors: Mapping[str, Sequence[str]]
    tables: Sequence[str]
    camera: CameraRange
    barriers: float
    """Share of scenes with barriers."""
    scale: float
    """Sizes vary by so much, as a factor."""
    light: float
    """Brightness varies by so much, as a factor."""
    vague: float
    """Share of things called "object"."""


RANDOM_REGIMES = {
    "bridge": Ingredients(BRIDGE_COLORS, BRIDGE_TABLES, CameraRange(0.04, 0.015, 1.5), 0.0, 0.10, 0.2, 0.0),
    "broad": Ingredients(BROAD_COLORS, BROAD_TABLES, CameraRange(0.12, 0.020, 1.5), 0.5, 0.12, 0.2, 0.1),
}  # fmt: skip

_ALWAYS = {"carrot", "mushroom", "banana", "corn", "lemon", "eggplant", "potato", "drawer", "cloth"}
"""Kinds whose colour people mostly leave out."""


def sample_scene(regime: str, seed: int) -> Scene:
    """A random scene of *bridge* or *broad*, the same for the same seed.

    Raises:
        ConfigError: the regime has no random scenes.
    """
    if regime not in RANDOM_REGIMES:
        raise ConfigError(f"no random scenes in regime '{regime}'; valid: {', '.join(RANDOM_REGIMES)}")
    rng = np.random.default_rng([crc32(regime.encode()), seed])
    return _draw(regime, f"{regime}-{seed}", RANDOM_REGIMES[regime], rng)


def _draw(regime: str, name: str, of: Ingredients, rng: np.random.Generator) -> Scene:
    template = rng.choice(["containers", "sides", "drawer", "cloth"], p=[0.68, 0.10, 0.11, 0.11])
    n_items = {"containers": (1, 5), "sides": (1, 5), "drawer": (0, 2), "cloth": (0, 2)}[template]
    roles = ["item"] * int(rng.integers(*n_items))
    if template == "containers":
        roles += ["container"] * (2 if len(roles) < 4 and rng.random() < 0.2 else 1)
    elif template in ("drawer", "cloth"):
        roles.append(str(template))
    things = _draw_things(roles, of, rng)
    return Scene(
        name=name,
        regime="bridge" if regime == "bridge" else "broad",
        objects=things,
        table=Table(str(rng.choice(of.tables))),
        camera=of.camera.draw(rng),
        tasks=_tasks(things, rng),
        barriers=bool(rng.random() < of.barriers),
        light=float(1 + rng.uniform(-1, 1) * of.light),
    )


def _draw_things(
    roles: Sequence[str], of: Ingredients, rng: np.random.Generator
) -> tuple[SceneObject, ...]:
    """One thing for each role, with different names."""
    things: list[SceneObject] = []
    for role in roles:
        while True:
            kind = str(rng.choice([k for k in of.colors if KINDS[k].role == role]))
            color = str(rng.choice(of.colors[kind]))
            if all((kind, color) != (t.kind, t.color) for t in things):
                break
        alone = all(color != t.color for t in things)
        things.append(
            SceneObject(
                name=_name(kind, color, things, alone and rng.random() < of.vague, rng),
                kind=kind,
                color=color,
                scale=float(1 + rng.uniform(-1, 1) * of.scale),
            )
        )
    return tuple(things)


def _name(
    kind: str, color: str, others: Sequence[SceneObject], vague: bool, rng: np.random.Generator
) -> str:
    """What people call it: with its colour where that tells it apart or isn't a matter of course."""
    if vague and KINDS[kind].role == "item":
        return f"{color} object"
    bare = kind in _ALWAYS and all(kind != t.kind for t in others) and rng.random() < 0.7
    return kind if bare else f"{color} {kind}"


def _tasks(things: Sequence[SceneObject], rng: np.random.Generator) -> tuple[SceneTask, ...]:
    """All tasks that make sense for these things, each worded at random."""

    def phrase(choices: Sequence[str]) -> str:
        return str(choices[int(rng.integers(len(choices)))])

    tasks: list[SceneTask] = []
    containers = [t for t in things if KINDS[t.kind].role == "container"]
    for thing in things:
        role = KINDS[thing.kind].role
        if role == "drawer":
            tasks += open_and_close(thing.name, phrase(OPEN), phrase(CLOSE))
        elif role == "cloth":
            tasks += fold_and_unfold(thing.name, phrase(FOLD), phrase(UNFOLD))
        elif role == "item":
            for c in containers:
                preposition = KINDS[c.kind].preposition
                take = phrase(TAKE_IN if preposition == "in" else TAKE_ON)
                tasks += put_and_take(thing.name, c.name, preposition, take, phrase(PUT))
            if not containers or rng.random() < 0.3:
                tasks += move_aside(thing.name, phrase(ASIDE))
    return tuple(tasks)
