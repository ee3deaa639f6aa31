"""Scenes in YAML files of the user's own.

    name: my-kitchen
    table: oak
    objects:
      - {name: red mug, kind: cup, color: red}
      - {name: white plate, kind: plate, color: white}
    tasks:
      - {instruction: put the red mug on the white plate, inside: [red mug, white plate]}
      - {instruction: take the red mug off the plate, outside: [red mug, white plate]}
      - {instruction: move the red mug to the left, left: red mug}
    questions: questions.yaml        # beside this file; only for tasks that the grammar doesn't know

Goals: `inside` and `outside` name an object and a container; `stacked` and `unstacked` an object and the one below;
`left`, `right`, `open`, `closed`, `folded` and `flat` name one object. Optional: `barriers`, `light`, `camera`
(position, look_at, fovy_deg, jitter_m, up). The scene belongs to the regime *dev*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from soar.errors import ConfigError
from soar.sim.objects.kinds import kind_of
from soar.sim.objects.names import check_names
from soar.sim.scenes.paper_scenes import NOMINAL
from soar.sim.scenes.spec import (
    Camera,
    ClothFolded,
    DoorOpen,
    DrawerOpen,
    Goal,
    Inside,
    OnSide,
    Scene,
    SceneObject,
    SceneTask,
    Stacked,
    Table,
)
from soar.sim.scenes.tables import style_of
from soar.utils.config import from_plain, to_plain
from soar.utils.yaml_files import read_plain

_GOALS: dict[str, tuple[tuple[str, ...], Callable[..., Goal]]] = {
    # key: (roles that its objects must have, the goal)
    "inside": (("item", "container"), lambda o, c: Inside(o, c)),
    "outside": (("item", "container"), lambda o, c: Inside(o, c, value=False)),
    "left": (("item",), lambda o: OnSide(o, "left")),
    "right": (("item",), lambda o: OnSide(o, "right")),
    "stacked": (("item", "item"), lambda o, b: Stacked(o, b)),
    "unstacked": (("item", "item"), lambda o, b: Stacked(o, b, value=False)),
    "open": (("drawer",), lambda d: DrawerOpen(d)),
    "closed": (("drawer",), lambda d: DrawerOpen(d, value=False)),
    "folded": (("cloth",), lambda c: ClothFolded(c)),
    "flat": (("cloth",), lambda c: ClothFolded(c, value=False)),
}

_DOORS: dict[str, Callable[[str], Goal]] = {
    "open": lambda c: DoorOpen(c),
    "closed": lambda c: DoorOpen(c, value=False),
}
"""Goals of the same words for a cabinet with a door."""


@dataclass(frozen=True)
class TaskEntry:
    """A task of a scene file: an instruction and one goal."""

    RENAMED: ClassVar = {"say": "instruction"}

    instruction: str
    inside: tuple[str, str] | None = None
    outside: tuple[str, str] | None = None
    stacked: tuple[str, str] | None = None
    unstacked: tuple[str, str] | None = None
    left: str | None = None
    right: str | None = None
    open: str | None = None
    closed: str | None = None
    folded: str | None = None
    flat: str | None = None


@dataclass(frozen=True)
class SceneFile:
    """Content of a scene file."""

    RENAMED: ClassVar = {"things": "objects"}

    name: str
    table: str
    objects: tuple[SceneObject, ...]
    tasks: tuple[TaskEntry, ...]
    questions: str = ""
    barriers: bool = False
    light: Annotated[float, Ge(0.2), Le(2)] = 1.0
    camera: Camera = NOMINAL

    def __post_init__(self) -> None:
        for key in ("objects", "tasks"):
            if not getattr(self, key):
                raise ConfigError(f"{key} must be a list with at least one entry")
        names = [o.name for o in self.objects]
        if len(set(names)) < len(names):
            raise ConfigError(f"two objects have the same name; names: {', '.join(names)}")
        if not all(name.strip() for name in names):
            raise ConfigError(f"an object has no name; names: {', '.join(n for n in names if n)}")
        said = [t.instruction for t in self.tasks]
        if twice := [text for text in said if said.count(text) > 1]:
            raise ConfigError(
                f"two tasks have the instruction '{twice[0]}'; valid: another one for each"
            )


def read_scene(path: Path) -> Scene:
    """Read a scene file. Raises ConfigError with what is wrong and what is valid."""
    data, where = read_plain(path), f"scene file {path}"
    if isinstance(data, dict) and isinstance(data.get("camera"), dict):
        data["camera"] = {**to_plain(NOMINAL), **data["camera"]}
    file = from_plain(SceneFile, data, where)
    try:
        return _scene(file, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _scene(file: SceneFile, folder: Path) -> Scene:
    table = Table(file.table)
    style_of(table)
    roles = {o.name: kind_of(o).role for o in file.objects}
    check_names(file.objects)
    return Scene(
        name=file.name,
        regime="dev",
        objects=file.objects,
        table=table,
        camera=file.camera,
        tasks=tuple(SceneTask(t.instruction, _goal(t, roles)) for t in file.tasks),
        barriers=file.barriers,
        light=file.light,
        questions=file.questions and str(folder / file.questions),
    )


def _goal(task: TaskEntry, roles: Mapping[str, str]) -> Goal:
    """Goal of a task whose objects have the right roles. Raises ConfigError."""
    given = {key: value for key in _GOALS if (value := getattr(task, key)) is not None}
    if len(given) != 1:
        raise ConfigError(
            f"the task '{task.instruction}' has {len(given)} goals; valid: one of {', '.join(_GOALS)}"
        )
    [(key, value)] = given.items()
    if key in _DOORS and isinstance(value, str) and roles.get(value) == "door":
        return _DOORS[key](value)
    needed, goal = _GOALS[key]
    names = [value] if isinstance(value, str) else value
    if [roles.get(n) for n in names] != list(needed) or len(set(names)) < len(names):
        different = "different " if len(needed) > 1 else ""
        raise ConfigError(
            f"'{key}' needs {different}{' and '.join(needed)} of this scene, got {', '.join(names)}; "
            f"there is: {', '.join(f'{n} ({r})' for n, r in roles.items())}"
        )
    return goal(*names)
