"""MuJoCo bodies of scene objects."""

from __future__ import annotations

import mujoco

from soar.sim.objects.cloth import add_cloth
from soar.sim.objects.door import add_door
from soar.sim.objects.drawer import add_drawer
from soar.sim.objects.kinds import kind_of
from soar.sim.objects.parts import COLORS, add_part
from soar.sim.scenes.spec import SceneObject


def add_object(spec: mujoco.MjSpec, obj: SceneObject) -> None:
    """Add a body with the object's name, on a free joint of the same name.

    The bodies of a drawer and of a cabinet are fixed (mocap), box and door move on `drawer.slide_joint(name)`
    and `door.hinge_joint(name)`; a cloth also has a flex of the same name.

    Raises:
        ConfigError: the kind or color doesn't exist.
    """
    kind = kind_of(obj)
    color = COLORS[obj.color]
    if kind.role == "cloth":
        add_cloth(spec, obj.name, color, obj.scale)
    elif kind.role == "drawer":
        add_drawer(spec, obj.name, color)
    elif kind.role == "door":
        add_door(spec, obj.name, color)
    else:
        body = spec.worldbody.add_body(name=obj.name)
        body.add_freejoint(name=obj.name)
        for part in kind.parts:
            add_part(body, part, color, obj.scale, kind.density)
