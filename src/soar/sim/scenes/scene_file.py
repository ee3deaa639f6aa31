"""A user's own scene, from a YAML file.

    name: my-kitchen
    table: oak
    things:
      - {name: red mug, kind: cup, color: red}
      - {name: white plate, kind: plate, color: white}
    tasks:
      - {say: put the red mug on the white plate, inside: [red mug, white plate]}
      - {say: take the red mug off the plate, outside: [red mug, white plate]}
      - {say: move the red mug to the left, left: red mug}

Goals: `inside` and `outside` name a thing and a container; `left`, `right`, `open`, `closed`, `folded`
and `flat` name one thing. Optional: `barriers`, `light`, `camera` (position, look_at, fovy_deg, jitter_m, up).
The scene belongs to the regime *dev*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from soar.errors import ConfigError
from soar.sim.objects.catalog import kind_of
from soar.sim.scenes.paper import NOMINAL
from soar.sim.scenes.spec import (
    Camera,
    ClothFolded,
    DrawerOpen,
    Goal,
    Inside,
    OnSide,
    Scene,
    SceneTask,
    Table,
    Thing,
)
from soar.sim.scenes.tables import style_of

_GOALS: dict[str, tuple[tuple[str, ...], Callable[..., Goal]]] = {
    # word: (roles that its things must have, the goal)
    "inside": (("item", "container"), lambda t, c: Inside(t, c)),
    "outside": (("item", "container"), lambda t, c: Inside(t, c, value=False)),
    "left": (("item",), lambda t: OnSide(t, "left")),
    "right": (("item",), lambda t: OnSide(t, "right")),
    "open": (("drawer",), lambda d: DrawerOpen(d)),
    "closed": (("drawer",), lambda d: DrawerOpen(d, value=False)),
    "folded": (("cloth",), lambda c: ClothFolded(c)),
    "flat": (("cloth",), lambda c: ClothFolded(c, value=False)),
}
_KEYS = ("name", "table", "things", "tasks", "barriers", "light", "camera")


def read_scene(path: Path) -> Scene:
    """The scene that a YAML file describes. Raises ConfigError with what is wrong and what is valid."""
    import yaml

    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"can't read scene file '{path}': {reason}") from error
    return _scene(_mapping(raw, str(path), _KEYS), str(path))


def _scene(raw: Mapping[str, Any], where: str) -> Scene:
    for key in ("name", "table", "things", "tasks"):
        if key not in raw:
            raise ConfigError(f"{where}: '{key}' is missing; needed: name, table, things, tasks")
    things = tuple(_thing(t, f"{where}, things") for t in _list(raw["things"], where, "things"))
    names = [t.name for t in things]
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: two things have the same name; names: {', '.join(names)}")
    table = Table(str(raw["table"]))
    style_of(table)
    roles = {t.name: kind_of(t).role for t in things}
    return Scene(
        name=str(raw["name"]),
        regime="dev",
        things=things,
        table=table,
        camera=_camera(raw.get("camera", {}), f"{where}, camera"),
        tasks=tuple(_task(t, roles, where) for t in _list(raw["tasks"], where, "tasks")),
        barriers=bool(raw.get("barriers", False)),
        light=_number(raw.get("light", 1.0), f"{where}, light", 0.2, 2.0),
    )


def _thing(raw: Any, where: str) -> Thing:
    data = _mapping(raw, where, tuple(f.name for f in fields(Thing)))
    for key in ("name", "kind", "color"):
        if key not in data:
            raise ConfigError(
                f"{where}: '{key}' is missing in {dict(data)}; needed: name, kind, color"
            )
    yaw = data.get("yaw")
    thing = Thing(
        name=str(data["name"]),
        kind=str(data["kind"]),
        color=str(data["color"]),
        scale=_number(data.get("scale", 1.0), f"{where}, scale", 0.5, 1.5),
        yaw=None if yaw is None else _number(yaw, f"{where}, yaw", -3.2, 3.2),
    )
    kind_of(thing)
    return thing


def _task(raw: Any, roles: Mapping[str, str], where: str) -> SceneTask:
    data = _mapping(raw, f"{where}, tasks", ("say", *_GOALS))
    words = [key for key in data if key != "say"]
    if "say" not in data or len(words) != 1:
        raise ConfigError(
            f"{where}: a task needs 'say' and one of {', '.join(_GOALS)}; got {dict(data)}"
        )
    needed, goal = _GOALS[words[0]]
    value = data[words[0]]
    names = [str(n) for n in (value if isinstance(value, list) else [value])]
    if [roles.get(n) for n in names] != list(needed):
        raise ConfigError(
            f"{where}: '{words[0]}' needs {' and '.join(needed)} of this scene, got {', '.join(names)}; "
            f"there is: {', '.join(f'{n} ({r})' for n, r in roles.items())}"
        )
    return SceneTask(str(data["say"]), goal(*names))


def _camera(raw: Any, where: str) -> Camera:
    data = _mapping(raw, where, tuple(f.name for f in fields(Camera)))
    return Camera(
        position=_point(data.get("position", NOMINAL.position), f"{where}, position"),
        look_at=_point(data.get("look_at", NOMINAL.look_at), f"{where}, look_at"),
        fovy_deg=_number(data.get("fovy_deg", NOMINAL.fovy_deg), f"{where}, fovy_deg", 5, 120),
        jitter_m=_number(data.get("jitter_m", NOMINAL.jitter_m), f"{where}, jitter_m", 0, 0.2),
        up=_point(data.get("up", NOMINAL.up), f"{where}, up"),
    )


def _mapping(raw: Any, where: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected keys and values ({', '.join(keys)}), got {raw!r}")
    unknown = [k for k in raw if k not in keys]
    if unknown:
        raise ConfigError(f"{where}: unknown key '{unknown[0]}'; valid: {', '.join(keys)}")
    return raw


def _list(raw: Any, where: str, key: str) -> list[Any]:
    if not isinstance(raw, list) or not raw:
        raise ConfigError(f"{where}: '{key}' must be a list with at least one entry")
    return raw


def _number(raw: Any, where: str, low: float, high: float) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not low <= raw <= high:
        raise ConfigError(f"{where}: expected a number from {low} to {high}, got {raw!r}")
    return float(raw)


def _point(raw: Any, where: str) -> tuple[float, float, float]:
    if not isinstance(raw, list | tuple) or len(raw) != 3:
        raise ConfigError(f"{where}: expected [x, y, z] in metres, got {raw!r}")
    x, y, z = (_number(v, where, -5, 5) for v in raw)
    return x, y, z
