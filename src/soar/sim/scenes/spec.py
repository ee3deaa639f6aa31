"""What a simulated scene *is*, as data: things, table, camera, tasks. A new scene is a few lines of this.

Nothing here knows MuJoCo. `soar.sim.scenes.catalog` holds the ten scenes of the paper (Table 5), the
development scenes and the samplers of the *broad* and *bridge* regimes; `soar.sim.world` makes a
scene real. Positions are in the robot's base frame, metres; +y is the robot's left, which is the
*left side* of the camera image too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Le

from soar.types import Regime

Meters: TypeAlias = Annotated[float, Ge(-5), Le(5)]
Point: TypeAlias = tuple[Meters, Meters, Meters]
"""x, y and z in the robot's base frame [m]."""


@dataclass(frozen=True)
class SceneObject:
    """One object on the table: a kind of body, a colour, and the words that name it."""

    name: str
    """What instructions call it: "green block". Unique within a scene."""
    kind: str
    """A key of `soar.sim.objects.catalog.KINDS`: "block", "bowl", "drawer", "cloth"..."""
    color: str
    """A key of `soar.sim.objects.catalog.COLORS`."""
    scale: Annotated[float, Ge(0.5), Le(1.5)] = 1.0
    yaw: Annotated[float, Ge(-3.2), Le(3.2)] | None = None
    """Fixed heading [rad]; None lets the seed choose."""


@dataclass(frozen=True)
class Table:
    """A tabletop: its look. Its top surface is always at z = 0."""

    name: str
    """A key of `soar.sim.scenes.tables.TABLES`."""


@dataclass(frozen=True)
class Camera:
    """A fixed third-person camera."""

    position: Point
    look_at: Point
    fovy_deg: Annotated[float, Ge(5), Le(120)] = 45.0
    jitter_m: Annotated[float, Ge(0), Le(0.2)] = 0.01
    """The seed of a reset moves the position by up to so much along each axis."""
    up: Point = (1.0, 0.0, 0.0)
    """What points to the top of the image; the robot's forward direction, wherever the camera stands."""


@dataclass(frozen=True)
class Inside:
    """`object` lies in or on `container`, released and at rest. With `value=False`: it lies on the table instead."""

    object: str
    container: str
    value: bool = True


@dataclass(frozen=True)
class OnSide:
    """`object` lies past the middle line (y = 0) by a margin, on the named side, released and at rest."""

    object: str
    side: Literal["left", "right"]


@dataclass(frozen=True)
class DrawerOpen:
    """The drawer is within 1 cm of fully open (`value=True`) or fully closed (`value=False`)."""

    drawer: str
    value: bool = True


@dataclass(frozen=True)
class ClothFolded:
    """The cloth's right half lies on its left half (`value=True`), or it lies flat (`value=False`), by overlap."""

    cloth: str
    value: bool = True


Goal: TypeAlias = Inside | OnSide | DrawerOpen | ClothFolded


@dataclass(frozen=True)
class SceneTask:
    """An instruction in words, and the state of the world that fulfils it (known to the simulator alone)."""

    instruction: str
    goal: Goal


@dataclass(frozen=True)
class Scene:
    """A table with things, seen by a camera, and the tasks that make sense there."""

    name: str
    regime: Regime
    objects: tuple[SceneObject, ...]
    table: Table
    camera: Camera
    tasks: tuple[SceneTask, ...]
    barriers: bool = False
    """Transparent walls around the workspace, as in the paper's overnight collection."""
    light: float = 1.0
    """Brightness of the scene's light; a reset's seed varies it by 10 %."""
    questions: str = ""
    """Question file for tasks that the grammar doesn't know; empty for none."""
