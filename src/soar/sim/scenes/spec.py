"""What a simulated scene *is*, as data: things, table, camera, tasks. A new scene is a few lines of this.

Nothing here knows MuJoCo. `soar.sim.scenes.catalog` holds the ten scenes of the paper (Table 5), the
development scenes and the samplers of the *broad* and *bridge* regimes; `soar.sim.world` makes a
scene real. Positions are in the robot's base frame, metres; +y is the robot's left, which is the
*left side* of the camera image too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from soar.types import Regime


@dataclass(frozen=True)
class Thing:
    """One object on the table: a kind of body, a colour, and the words that name it."""

    name: str
    """What instructions call it: "green block". Unique within a scene."""
    kind: str
    """A key of `soar.sim.objects.catalog.KINDS`: "block", "bowl", "drawer", "cloth"..."""
    color: str
    """A key of `soar.sim.objects.catalog.COLORS`."""
    scale: float = 1.0
    yaw: float | None = None
    """Fixed heading [rad]; None lets the seed choose."""


@dataclass(frozen=True)
class Table:
    """A tabletop: its look. Its top surface is always at z = 0."""

    name: str
    """A key of `soar.sim.scenes.tables.TABLES`."""


@dataclass(frozen=True)
class Camera:
    """A fixed third-person camera."""

    position: tuple[float, float, float]
    look_at: tuple[float, float, float]
    fovy_deg: float = 45.0
    jitter_m: float = 0.01
    """The seed of a reset moves the position by up to so much along each axis."""
    up: tuple[float, float, float] = (1.0, 0.0, 0.0)
    """What points to the top of the image; the robot's forward direction, wherever the camera stands."""


@dataclass(frozen=True)
class Inside:
    """`thing` lies in or on `container`, released and at rest. With `value=False`: it lies on the table instead."""

    thing: str
    container: str
    value: bool = True


@dataclass(frozen=True)
class OnSide:
    """`thing` lies past the middle line (y = 0) by a margin, on the named side, released and at rest."""

    thing: str
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
    things: tuple[Thing, ...]
    table: Table
    camera: Camera
    tasks: tuple[SceneTask, ...]
    barriers: bool = False
    """Transparent walls around the workspace, as in the paper's overnight collection."""
    light: float = 1.0
    """Brightness of the scene's light; a reset's seed varies it by 10 %."""
