"""Where in the image a place is, as a pointing finger would say it. Privileged: for labels and measuring."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from soar.sim.motion import Vector3
from soar.sim.world import World


def point_at(world: World, position: Vector3 | None) -> Float32[np.ndarray, "2"]:
    """Where the camera sees a place: x right, y down, each in [-1, 1]; NaN for no place or outside the image."""
    nowhere = np.full(2, np.nan, np.float32)
    if position is None:
        return nowhere
    camera = world.data.camera("camera")
    right, up, back = camera.xmat.reshape(3, 3).T @ (position - camera.xpos)
    half = np.tan(np.radians(world.model.cam_fovy[camera.id]) / 2)
    point = np.array([right, -up]) / (-back * half)
    return point.astype(np.float32) if back < 0 and (np.abs(point) < 1).all() else nowhere
