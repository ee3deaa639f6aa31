"""Random scenes of the regimes *broad* and *bridge*, and what *bridge* never shows.

*bridge* stands for BridgeData V2: a narrow set of objects, tables and cameras, with actions.
*broad* stands for the data of Internet-scale models: all objects, in all colors, from many viewpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
"""Kind and color of an object."""


@dataclass(frozen=True)
class Unseen:
    """Objects, tables and barriers that *bridge* lacks, so that scenes with them are new to its policies."""

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
"""14 of *soar*'s 19 objects and three of its five tables. Its cameras are outside *bridge*'s range, too."""

UNSEEN_DEV = Unseen(
    pairs=frozenset(
        (t.kind, t.color) for s in SCENES.values() if s.regime == "dev" for t in s.objects
    ),
    tables=frozenset(s.table.name for s in SCENES.values() if s.regime == "dev"),
)
"""Objects and tables of the development scenes, also new to *bridge* and disjoint from `UNSEEN`."""

_PLAIN_COLORS = tuple(c for c in COLORS if c not in ("wooden", "metal", "tan"))
"""Colors of any kind of object, without those of materials."""

BROAD_COLORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((k for k in KINDS if KINDS[k].role != "door"), _PLAIN_COLORS),
    **dict.fromkeys(
        ("bowl", "tray", "basket", "cylinder", "spoon"), (*_PLAIN_COLORS, "wooden", "metal")
    ),
    "plate": (*_PLAIN_COLORS, "wooden"),
    "pot": ("metal", "black", "red", "blue", "white", "gray"),
    "pan": ("metal", "black", "red", "gray"),
    "can": (*_PLAIN_COLORS, "metal"),
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
"""Colors by kind in *broad*, which has all kinds but the cabinet, whose door is a skill to be learned."""

_BRIDGE_KINDS = (
    "block", "carrot", "mushroom", "banana", "corn", "pepper", "can", "cup", "sponge", "cylinder",
    "marker", "spoon", "bowl", "plate", "pot", "tray", "drawer", "cloth",
)  # fmt: skip

BRIDGE_COLORS: dict[str, tuple[str, ...]] = {
    kind: tuple(c for c in BROAD_COLORS[kind] if (kind, c) not in UNSEEN.pairs | UNSEEN_DEV.pairs)
    for kind in _BRIDGE_KINDS
}
"""Colors by kind in *bridge*, without the unseen pairs."""

BRIDGE_TABLES = ("oak", "white", "gray", "birch", "sand")
BROAD_TABLES = tuple(t for t in TABLES if t not in UNSEEN.tables | UNSEEN_DEV.tables)


@dataclass(frozen=True)
class CameraRange:
    """Uniform distribution of a regime's cameras around the nominal one, by half widths."""

    position_m: float
    """Half width along each axis."""
    look_at_m: float
    """Half width along x and y."""
    fovy_deg: float

    def sample(self, rng: np.random.Generator) -> Camera:
        """Sample a camera."""
        p = np.asarray(NOMINAL.position) + rng.uniform(-1, 1, 3) * self.position_m
        at = np.asarray(NOMINAL.look_at) + rng.uniform(-1, 1, 3) * self.look_at_m * (1, 1, 0)
        fovy = NOMINAL.fovy_deg + rng.uniform(-1, 1) * self.fovy_deg
        return Camera(tuple(p.tolist()), tuple(at.tolist()), float(fovy))


@dataclass(frozen=True)
class SceneDistribution:
    """Distribution of a regime's random scenes."""

    colors: Mapping[str, Sequence[str]]
    """Colors by kind."""
    tables: Sequence[str]
    camera: CameraRange
    barriers: float
    """Probability of barriers."""
    scale: float
    """Half width of the size factor around 1."""
    light: float
    """Half width of the brightness factor around 1."""
    generic_names: float
    """Probability that an item is called "object", such as "red object"."""

    def sample_light(self, rng: np.random.Generator) -> float:
        """Sample a brightness factor."""
        return float(1 + rng.uniform(-1, 1) * self.light)


RANDOM_REGIMES = {
    "bridge": SceneDistribution(BRIDGE_COLORS, BRIDGE_TABLES, CameraRange(0.04, 0.015, 1.5), 0.0, 0.10, 0.2, 0.0),
    "broad": SceneDistribution(BROAD_COLORS, BROAD_TABLES, CameraRange(0.12, 0.020, 1.5), 0.5, 0.12, 0.2, 0.1),
}  # fmt: skip

_KNOWN_COLOR = {"carrot", "mushroom", "banana", "corn", "lemon", "eggplant", "potato", "drawer", "cloth"}  # fmt: skip
"""Kinds whose color people mostly leave out."""


def sample_scene(regime: str, seed: int) -> Scene:
    """Sample a scene of *bridge* or *broad*; the same seed gives the same scene.

    Raises:
        ConfigError: the regime has no random scenes.
    """
    if regime not in RANDOM_REGIMES:
        raise ConfigError(
            f"no random scenes in regime '{regime}'; valid: {', '.join(RANDOM_REGIMES)}"
        )
    rng = np.random.default_rng([crc32(regime.encode()), seed])
    return _sample(regime, f"{regime}-{seed}", RANDOM_REGIMES[regime], rng)


def sample_style(scene: Scene, rng: np.random.Generator) -> Scene:
    """Sample other colors, names, table, camera and light for a scene of *bridge* or *broad*; kinds and sizes stay."""
    of = RANDOM_REGIMES[scene.regime]
    objects: list[SceneObject] = []
    for obj in scene.objects:
        taken = {o.color for o in objects if o.kind == obj.kind}
        color = str(rng.choice([c for c in of.colors[obj.kind] if c not in taken]))
        name = _sample_name(obj.kind, color, objects, of, rng)
        objects.append(replace(obj, name=name, color=color))
    return replace(
        scene,
        objects=tuple(objects),
        table=Table(str(rng.choice(of.tables))),
        camera=of.camera.sample(rng),
        light=of.sample_light(rng),
    )


def _sample(regime: str, name: str, of: SceneDistribution, rng: np.random.Generator) -> Scene:
    template = rng.choice(["containers", "sides", "drawer", "cloth"], p=[0.68, 0.10, 0.11, 0.11])
    n_items = {"containers": (1, 5), "sides": (1, 5), "drawer": (0, 2), "cloth": (0, 2)}[template]
    roles = ["item"] * int(rng.integers(*n_items))
    if template == "containers":
        roles += ["container"] * (2 if len(roles) < 4 and rng.random() < 0.2 else 1)
    elif template in ("drawer", "cloth"):
        roles.append(str(template))
    objects = _sample_objects(roles, of, rng)
    return Scene(
        name=name,
        regime="bridge" if regime == "bridge" else "broad",
        objects=objects,
        table=Table(str(rng.choice(of.tables))),
        camera=of.camera.sample(rng),
        tasks=_sample_tasks(objects, rng),
        barriers=bool(rng.random() < of.barriers),
        light=of.sample_light(rng),
    )


def _sample_objects(
    roles: Sequence[str], of: SceneDistribution, rng: np.random.Generator
) -> tuple[SceneObject, ...]:
    """Sample an object for each role, with different names."""
    objects: list[SceneObject] = []
    for role in roles:
        while True:
            kind = str(rng.choice([k for k in of.colors if KINDS[k].role == role]))
            color = str(rng.choice(of.colors[kind]))
            if all((kind, color) != (o.kind, o.color) for o in objects):
                break
        objects.append(
            SceneObject(
                name=_sample_name(kind, color, objects, of, rng),
                kind=kind,
                color=color,
                scale=float(1 + rng.uniform(-1, 1) * of.scale),
            )
        )
    return tuple(objects)


def _sample_name(
    kind: str,
    color: str,
    others: Sequence[SceneObject],
    of: SceneDistribution,
    rng: np.random.Generator,
) -> str:
    """Sample a name; the color may be left out where it is usual and the kind is unique."""
    unique_color = all(color != o.color for o in others)
    generic = unique_color and rng.random() < of.generic_names
    if generic and KINDS[kind].role == "item":
        return f"{color} object"
    bare = kind in _KNOWN_COLOR and all(kind != o.kind for o in others) and rng.random() < 0.7
    return kind if bare else f"{color} {kind}"


def _sample_tasks(
    objects: Sequence[SceneObject], rng: np.random.Generator
) -> tuple[SceneTask, ...]:
    """Return all tasks that are possible with these objects, each in a sampled wording."""

    def phrase(choices: Sequence[str]) -> str:
        return str(choices[int(rng.integers(len(choices)))])

    tasks: list[SceneTask] = []
    containers = [o for o in objects if KINDS[o.kind].role == "container"]
    for obj in objects:
        role = KINDS[obj.kind].role
        if role == "drawer":
            tasks += open_and_close(obj.name, phrase(OPEN), phrase(CLOSE))
        elif role == "cloth":
            tasks += fold_and_unfold(obj.name, phrase(FOLD), phrase(UNFOLD))
        elif role == "item":
            for c in containers:
                preposition = KINDS[c.kind].preposition
                take = phrase(TAKE_IN if preposition == "in" else TAKE_ON)
                tasks += put_and_take(obj.name, c.name, preposition, take, phrase(PUT))
            if not containers or rng.random() < 0.3:
                tasks += move_aside(obj.name, phrase(ASIDE))
    return tuple(tasks)
