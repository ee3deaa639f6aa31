"""Scenes as data: objects, table, camera, and tasks with their goals.

Nothing here depends on MuJoCo. Positions are in the robot's base frame [m]; +y is the robot's left, which is also the
left side of the camera's image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
from annotated_types import Ge, Le

from soar.errors import ConfigError
from soar.types import Regime

Meters: TypeAlias = Annotated[float, Ge(-5), Le(5)]
Point: TypeAlias = tuple[Meters, Meters, Meters]
"""x, y and z in the robot's base frame [m]."""
_PARALLEL = 1e-6
"""Sine of the angle up to which two directions count as parallel."""


@dataclass(frozen=True)
class SceneObject:
    """An object on the table: its kind, its color, and the words that name it."""

    name: str
    """Noun phrase in instructions, such as "green block". Unique within a scene."""
    kind: str
    """Key of `soar.sim.objects.kinds.KINDS`, such as "block", "bowl", "drawer" or "cloth"."""
    color: str
    """Key of `soar.sim.objects.parts.COLORS`."""
    scale: Annotated[float, Ge(0.5), Le(1.5)] = 1.0
    """Size as a factor of the kind's."""
    yaw: Annotated[float, Ge(-3.2), Le(3.2)] | None = None
    """Fixed initial heading [rad]; None samples it."""
    distractor: bool = False
    """Whether no task names it; it may then lie closer to others, and at the edge of the workspace."""


@dataclass(frozen=True)
class Table:
    """A tabletop; its surface is at z = 0."""

    name: str
    """Key of `soar.sim.scenes.tables.TABLES`."""


@dataclass(frozen=True)
class Camera:
    """A fixed third-person camera."""

    position: Point
    look_at: Point
    """Point at the center of the image [m]."""
    fovy_deg: Annotated[float, Ge(5), Le(120)] = 45.0
    """Vertical field of view [deg]."""
    jitter_m: Annotated[float, Ge(0), Le(0.2)] = 0.01
    """Largest random displacement at a reset, along each axis [m]."""
    up: Point = (1.0, 0.0, 0.0)
    """Direction of the image's top; the robot's forward direction, wherever the camera stands."""

    def __post_init__(self) -> None:
        view = np.subtract(self.position, self.look_at)
        sine = np.linalg.norm(np.cross(self.up, view))
        if not sine > _PARALLEL * np.linalg.norm(self.up) * np.linalg.norm(view):
            raise ConfigError(
                f"a camera at {self.position} can't look at {self.look_at} with {self.up} up; valid: another "
                "point than "
                "its position, and a direction up that isn't along the view"
            )


@dataclass(frozen=True)
class Inside:
    """`object` lies in or on `container`, released and at rest; with `value=False` it lies on the table instead."""

    object: str
    container: str
    value: bool = True


@dataclass(frozen=True)
class OnSide:
    """`object` lies beyond the middle line (y = 0) by a margin on the given side, released and at rest."""

    object: str
    side: Literal["left", "right"]


@dataclass(frozen=True)
class DrawerOpen:
    """The drawer is within 1 cm of fully open, or with `value=False` of fully closed."""

    drawer: str
    value: bool = True


@dataclass(frozen=True)
class ClothFolded:
    """The cloth's right half lies on its left half; with `value=False` the cloth lies flat."""

    cloth: str
    value: bool = True


@dataclass(frozen=True)
class Stacked:
    """`object` rests on the item `base`, released; with `value=False` it lies on the table instead."""

    object: str
    base: str
    value: bool = True


@dataclass(frozen=True)
class DoorOpen:
    """The cabinet's door is within 0.15 rad of fully open, or with `value=False` within 0.08 rad of closed."""

    cabinet: str
    value: bool = True


Goal: TypeAlias = Inside | OnSide | DrawerOpen | ClothFolded | Stacked | DoorOpen


@dataclass(frozen=True)
class SceneTask:
    """An instruction and the goal that fulfills it, which only the simulator knows."""

    instruction: str
    goal: Goal


@dataclass(frozen=True)
class Scene:
    """A table with objects, a camera, and the tasks that are possible there."""

    name: str
    regime: Regime
    objects: tuple[SceneObject, ...]
    table: Table
    camera: Camera
    tasks: tuple[SceneTask, ...]
    barriers: bool = False
    """Transparent walls around the workspace, as in the paper's overnight collection."""
    light: float = 1.0
    """Brightness as a factor of the default; a reset varies it by up to 10 %."""
    questions: str = ""
    """Question file for tasks that the grammar doesn't know; empty for none."""

    def find(self, name: str) -> SceneObject:
        """Return the object with this name."""
        return next(obj for obj in self.objects if obj.name == name)

    def task(self, instruction: str) -> SceneTask:
        """Return the task with this instruction. Raises ConfigError: there is none."""
        for task in self.tasks:
            if task.instruction == instruction:
                return task
        names = ", ".join(f"'{t.instruction}'" for t in self.tasks)
        raise ConfigError(f"scene {self.name} has no task '{instruction}'; there is: {names}")
