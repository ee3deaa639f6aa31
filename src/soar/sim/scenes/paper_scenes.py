"""The ten scenes of the paper (Table 5) and four development scenes.

Instructions are the paper's, letter for letter. Its "red object" (scene 4) is the red fruit of scene 1, so that there
are 19 different objects, as in the paper.
"""

from __future__ import annotations

import numpy as np

from soar.sim.scenes.instructions import (
    ASIDE,
    REMOVE,
    REMOVE_INSIDE,
    TAKE_OUT,
    fold_and_unfold,
    move_aside,
    open_and_close,
    put_and_take,
)
from soar.sim.scenes.spec import Camera, Scene, SceneObject, SceneTask, Table

NOMINAL = Camera(position=(0.70, 0.035, 0.60), look_at=(0.285, 0.035, 0.0), fovy_deg=42.0)
"""Camera in front of the robot that looks back and 55 degrees down. The arm occludes little of the workspace, and the
fingers, their height and what is between them are visible from the side."""
CAMERA_SHIFT_M = 0.11
"""Distance of the cameras of *soar* and *dev* from the nominal one [m], about 9 degrees around the workspace. Together
with unseen tables, objects and barriers it sets the strength of the distribution shift. Fixed beforehand, not tuned;
*bridge*'s cameras stay within 4 cm along each axis."""


def shifted(x: float, y: float, z: float) -> Camera:
    """Return the nominal camera displaced by `CAMERA_SHIFT_M` along a direction."""
    offset = np.array([x, y, z]) / np.linalg.norm([x, y, z]) * CAMERA_SHIFT_M
    px, py, pz = np.asarray(NOMINAL.position) + offset
    return Camera((float(px), float(py), float(pz)), NOMINAL.look_at, NOMINAL.fovy_deg)


LEFT, RIGHT = shifted(0, 1, 0), shifted(0, -1, 0)
FAR, HIGH = shifted(1, 0, -0.3), shifted(-0.7, 0, 0.7)

_OBJECTS = {
    t.name: t
    for t in (
        SceneObject("green block", "block", "green"),
        SceneObject("blue block", "block", "blue"),
        SceneObject("red fruit", "fruit", "red"),
        SceneObject("red object", "fruit", "red"),
        SceneObject("purple eggplant", "eggplant", "purple"),
        SceneObject("green marker", "marker", "green"),
        SceneObject("lemon", "lemon", "yellow"),
        SceneObject("carrot", "carrot", "orange"),
        SceneObject("mushroom", "mushroom", "tan"),
        SceneObject("green spoon", "spoon", "green"),
        SceneObject("pink spoon", "spoon", "pink"),
        SceneObject("green veggie", "veggie", "green"),
        SceneObject("wooden bowl", "bowl", "wooden"),
        SceneObject("brown bowl", "bowl", "brown"),
        SceneObject("blue bowl", "bowl", "blue"),
        SceneObject("green plate", "plate", "green"),
        SceneObject("blue plate", "plate", "blue"),
        SceneObject("metal pot", "pot", "metal"),
        SceneObject("drawer", "drawer", "white"),
        SceneObject("cloth", "cloth", "teal"),
    )
}


def _soar(
    name: str, objects: str, table: str, camera: Camera, *tasks: tuple[SceneTask, ...]
) -> Scene:
    """Return a scene of the paper; `objects` are names separated by commas."""
    return Scene(
        name=name,
        regime="soar",
        objects=tuple(_OBJECTS[t.strip()] for t in objects.split(",")),
        table=Table(table),
        camera=camera,
        tasks=tuple(t for group in tasks for t in group),
        barriers=True,
    )


SCENES: dict[str, Scene] = {
    # walnut, slate and tile are in no other regime; oak and white are in bridge too
    s.name: s
    for s in (
        _soar(
            "1", "green block, red fruit, wooden bowl", "walnut", LEFT,
            put_and_take("green block", "wooden bowl", "in", REMOVE_INSIDE),
            put_and_take("red fruit", "wooden bowl", "in", REMOVE_INSIDE),
        ),
        _soar(
            "2", "purple eggplant, brown bowl", "tile", FAR,
            put_and_take("purple eggplant", "brown bowl", "in", REMOVE_INSIDE),
        ),
        _soar(
            "3", "green marker, blue block, lemon, wooden bowl", "slate", RIGHT,
            move_aside("green marker"),
            put_and_take("blue block", "wooden bowl", "in", REMOVE_INSIDE),
            put_and_take("lemon", "wooden bowl", "in", REMOVE_INSIDE),
        ),
        _soar(
            "4", "red object, carrot, green plate", "white", HIGH,
            put_and_take("red object", "green plate", "on", TAKE_OUT),
            put_and_take("carrot", "green plate", "on", TAKE_OUT),
        ),
        _soar(
            "5", "drawer", "tile", HIGH,
            open_and_close("drawer"),
        ),
        _soar(
            "6", "mushroom, blue bowl", "oak", RIGHT,
            put_and_take("mushroom", "blue bowl", "in", REMOVE),
        ),
        _soar(
            "7", "mushroom, metal pot, green spoon", "walnut", RIGHT,
            put_and_take("mushroom", "metal pot", "in", REMOVE),
            move_aside("green spoon", ASIDE[1]),
        ),
        _soar(
            "8", "carrot, purple eggplant, lemon, blue plate", "slate", LEFT,
            put_and_take("carrot", "blue plate", "on", REMOVE),
            put_and_take("purple eggplant", "blue plate", "on", REMOVE),
            put_and_take("lemon", "blue plate", "on", REMOVE),
        ),
        _soar(
            "9", "green veggie, pink spoon, blue plate", "oak", FAR,
            put_and_take("green veggie", "blue plate", "on", REMOVE),
            put_and_take("pink spoon", "blue plate", "on", REMOVE),
        ),
        _soar(
            "10", "cloth", "walnut", FAR,
            fold_and_unfold("cloth"),
        ),
        Scene(
            "dev1", "dev",
            (
                SceneObject("orange pepper", "pepper", "orange"),
                SceneObject("pink block", "block", "pink"),
                SceneObject("gray bowl", "bowl", "gray"),
            ),
            Table("cherry"), shifted(0.7, 0.7, 0),
            (
                *put_and_take("orange pepper", "gray bowl", "in", REMOVE_INSIDE),
                *put_and_take("pink block", "gray bowl", "in", REMOVE_INSIDE),
            ),
            barriers=True,
        ),
        Scene(
            "dev2", "dev",
            (
                SceneObject("purple marker", "marker", "purple"),
                SceneObject("potato", "potato", "brown"),
                SceneObject("yellow plate", "plate", "yellow"),
            ),
            Table("mint"), shifted(0.3, -0.7, 0.5),
            (
                *move_aside("purple marker"),
                *put_and_take("potato", "yellow plate", "on", REMOVE),
            ),
            barriers=True,
        ),
        # dark tables, as walnut and slate are; there the policy is the weakest part (docs/log.md)
        Scene(
            "dev3", "dev",
            (
                SceneObject("yellow pear", "pear", "yellow"),
                SceneObject("blue fish", "fish", "blue"),
                SceneObject("white basket", "basket", "white"),
            ),
            Table("rosewood"), shifted(-0.4, 0.9, 0.2),
            (
                *put_and_take("yellow pear", "white basket", "in", REMOVE_INSIDE),
                *put_and_take("blue fish", "white basket", "in", REMOVE_INSIDE),
            ),
            barriers=True,
        ),
        Scene(
            "dev4", "dev",
            (
                SceneObject("yellow star", "star", "yellow"),
                SceneObject("lime brush", "brush", "lime"),
                SceneObject("red pan", "pan", "red"),
            ),
            Table("basalt"), shifted(0.4, -0.9, 0.2),
            (
                *put_and_take("yellow star", "red pan", "in", REMOVE),
                *move_aside("lime brush"),
            ),
            barriers=True,
        ),
    )
}  # fmt: skip
