"""Another appearance of a compiled scene: colors, table, camera and light, without a new compilation.

Images of one physical state in many styles cost a fraction of images of as many states.
"""

from __future__ import annotations

import warnings
from functools import cache

import mujoco
import numpy as np
from jaxtyping import Float32

from soar.sim.model import look_at, set_brightness
from soar.sim.objects.builder import add_object
from soar.sim.scenes.spec import Scene, SceneObject
from soar.sim.scenes.tables import style_of, texture


def restyle(model: mujoco.MjModel, scene: Scene) -> None:
    """Give a model the appearance that the compilation of `scene` would have.

    Renderers must upload the tabletop's texture again (`soar.sim.rendering.Renderer.upload_texture`).

    Args:
        model: compiled scene with the same objects, in the same order and sizes, and the same barriers.
        scene: scene whose colors, table, camera and light to show; the names of its objects are not used.
    """
    root = model.body_rootid[model.geom_bodyid]
    flex = 0
    for obj, body in zip(scene.objects, _object_bodies(model), strict=True):
        geoms, flexes = _colors(obj.kind, obj.color)
        model.geom_rgba[root == body] = geoms
        model.flex_rgba[flex : flex + len(flexes)] = flexes
        flex += len(flexes)
    style = style_of(scene.table)
    for name, color in (("floor", style.floor), ("wall", style.wall)):
        model.geom(name).rgba[:3] = color
    first = int(model.tex_adr[model.texture("tabletop").id])
    pixels = texture(scene.table).ravel()
    model.tex_data[first : first + pixels.size] = pixels
    model.cam_pos[0], model.cam_quat[0] = scene.camera.position, look_at(scene.camera)
    model.cam_fovy[0] = scene.camera.fovy_deg
    set_brightness(model, scene.light)


def _object_bodies(model: mujoco.MjModel) -> list[int]:
    """Return the outermost bodies of all objects: those of the world's children that aren't the arm."""
    children = np.flatnonzero(model.body_parentid == 0)
    arm = model.body("base").id
    return [int(b) for b in children if b not in (0, arm)]


@cache
def _colors(kind: str, color: str) -> tuple[Float32[np.ndarray, "g 4"], Float32[np.ndarray, "f 4"]]:
    """Return the colors of an object's geometries and flexes in the order of their compilation."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    add_object(spec, SceneObject("object", kind, color))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex .* is not rigid")
        model = spec.compile()
    return model.geom_rgba.copy(), model.flex_rgba.copy()
