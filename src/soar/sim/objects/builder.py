"""Things made real: a body of a few primitives for each kind, in any colour.

What collides and what is seen are two sets of parts. An item collides as one box, which makes its
contacts cheap and keeps round things from rolling away; it is seen as ellipsoids, capsules and
cylinders. A container's walls are both.

Body frames: an item's origin is the centre of its collision box, its long axis along x, so that a
gripper closes along y. A container's, drawer's and cloth's origin is on the table below its centre.
"""

from __future__ import annotations

import mujoco

from soar.sim.objects.cloth import add_cloth
from soar.sim.objects.drawer import add_drawer
from soar.sim.objects.kinds import kind_of
from soar.sim.objects.parts import COLORS, add_part
from soar.sim.scenes.spec import SceneObject


def add_object(spec: mujoco.MjSpec, thing: SceneObject) -> None:
    """Add a body named `thing.name`, with one free joint of the same name.

    A drawer's body is fixed (mocap) and its box slides on the joint `drawer.slide_joint(name)`;
    a cloth is a flex named `thing.name`. Raises ConfigError for an unknown kind or colour.
    """
    kind = kind_of(thing)
    color = COLORS[thing.color]
    if kind.role == "cloth":
        add_cloth(spec, thing.name, color, thing.scale)
    elif kind.role == "drawer":
        add_drawer(spec, thing.name, color)
    else:
        body = spec.worldbody.add_body(name=thing.name)
        body.add_freejoint(name=thing.name)
        for part in kind.parts:
            add_part(body, part, color, thing.scale, kind.density)
