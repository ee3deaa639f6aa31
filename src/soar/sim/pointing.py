"""Where in the image a thing is, as a pointing finger would say it. Privileged: for labels and measuring."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from soar.sim.world import World


def point_at(world: World, name: str) -> Float32[np.ndarray, "2"]:
    """Where the camera sees a thing's centre: x right, y down, each in [-1, 1]; NaN outside the image."""
    position, _ = world.thing_pose(name)
    camera = world.data.camera("camera")
    right, up, back = camera.xmat.reshape(3, 3).T @ (position - camera.xpos)
    half = np.tan(np.radians(world.model.cam_fovy[camera.id]) / 2)
    point = np.array([right, -up]) / (-back * half)
    inside = bool(back < 0 and (np.abs(point) < 1).all())
    return point.astype(np.float32) if inside else np.full(2, np.nan, np.float32)
