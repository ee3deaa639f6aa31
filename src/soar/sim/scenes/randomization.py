"""Random variation of a scene's appearance at a reset: camera, light and colors."""

from __future__ import annotations

from dataclasses import dataclass, fields

import mujoco
import numpy as np
from jaxtyping import Float

from soar.sim.model import look_at
from soar.sim.scenes.spec import Scene


@dataclass(frozen=True, eq=False)
class Appearance:
    """Copies of the model's arrays that a reset randomizes, and of those that `restyling.restyle` sets, but the table's
    texture."""

    cam_pos: Float[np.ndarray, "_c 3"]
    cam_quat: Float[np.ndarray, "_c 4"]
    light_diffuse: Float[np.ndarray, "_l 3"]
    light_dir: Float[np.ndarray, "_l 3"]
    geom_rgba: Float[np.ndarray, "_g 4"]
    flex_rgba: Float[np.ndarray, "_f 4"]
    mat_rgba: Float[np.ndarray, "_m 4"]
    cam_fovy: Float[np.ndarray, "_c"]
    headlight: Float[np.ndarray, "2 3"]
    """Ambient and diffuse light from the camera."""

    @classmethod
    def of(cls, model: mujoco.MjModel) -> Appearance:
        """Copy the present appearance of a model."""
        arrays = {name: getattr(model, name).copy() for name in _ARRAYS}
        light = model.vis.headlight
        return cls(**arrays, headlight=np.stack([light.ambient, light.diffuse]))

    def apply(self, model: mujoco.MjModel) -> None:
        """Write this appearance into a model."""
        for name in _ARRAYS:
            getattr(model, name)[:] = getattr(self, name)
        model.vis.headlight.ambient[:], model.vis.headlight.diffuse[:] = self.headlight


_ARRAYS = tuple(f.name for f in fields(Appearance) if f.name != "headlight")
"""Fields of an appearance that are arrays of the model itself."""


def randomize(model: mujoco.MjModel, scene: Scene, rng: np.random.Generator) -> None:
    """Displace the camera, change the light by up to 10 %, and the colors of table and objects by up to 7 %."""
    offset = rng.uniform(-1, 1, 3) * scene.camera.jitter_m
    model.cam_pos[0] += offset
    model.cam_quat[0] = look_at(scene.camera, offset)
    model.light_diffuse[:] *= rng.uniform(0.9, 1.1) * rng.uniform(0.98, 1.02, 3)
    model.light_dir[:] += rng.uniform(-0.1, 0.1, 3)
    model.light_dir[:] /= np.linalg.norm(model.light_dir, axis=1, keepdims=True)
    arm = model.body("base").id
    root = model.body_rootid[model.geom_bodyid]
    for body in np.unique(root[root != arm]):
        _tint(model.geom_rgba, root == body, rng)
    for rows in (model.flex_rgba, model.mat_rgba):
        for i in range(len(rows)):
            _tint(rows, np.arange(len(rows)) == i, rng)


def _tint(rgba: Float[np.ndarray, "_n 4"], rows: np.ndarray, rng: np.random.Generator) -> None:
    factor = rng.uniform(0.93, 1.07) * rng.uniform(0.97, 1.03, 3)
    rgba[rows, :3] = (rgba[rows, :3] * factor).clip(0, 1)
