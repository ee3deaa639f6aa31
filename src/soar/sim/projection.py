"""Projection of points to image coordinates: x right, y down, each in [-1, 1]; NaN for points outside the image.

Positions of the simulated world are privileged: only labels and measurements use them.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64

from soar.sim.arm import FINGER_THICKNESS_M, FINGER_TRAVEL_M, FINGERTIP_OFFSET_M, WRIST_TO_GRIPPER_M
from soar.sim.control import rotation
from soar.sim.model import camera_axes
from soar.sim.scenes.spec import Camera
from soar.sim.world import World
from soar.utils.trajectories import Vector3


def project_point(world: World, position: Vector3 | None) -> Float32[np.ndarray, "2"]:
    """Project a position in the world to the camera's image; NaN for None."""
    if position is None:
        return np.full(2, np.nan, np.float32)
    camera = world.data.camera("camera")
    fovy_deg = float(world.model.cam_fovy[camera.id])
    points = _project(position[None] - camera.xpos, camera.xmat.reshape(3, 3), fovy_deg)
    return np.asarray(points[0])


def project_points(
    world: World, positions: Float64[np.ndarray, "n 3"]
) -> Float32[np.ndarray, "n 2"]:
    """Project positions in the world to the camera's image; NaN stays NaN."""
    return np.stack([project_point(world, p) for p in positions])


def arm_positions(world: World) -> Float64[np.ndarray, "4 3"]:
    """Return the positions of left fingertip, right fingertip, wrist, and the point of the table below the gripper [m].

    Together with the gripper's own position their images determine its height, yaw, tilt and opening.
    """
    gripper, rpy = world.gripper_pose()
    across = world.gripper_opening() * FINGER_TRAVEL_M + FINGER_THICKNESS_M / 2
    offsets = [
        (FINGERTIP_OFFSET_M, across, 0),
        (FINGERTIP_OFFSET_M, -across, 0),
        (-WRIST_TO_GRIPPER_M, 0, 0),
    ]
    points = [gripper + rotation(rpy) @ offset for offset in np.array(offsets)]
    return np.array([*points, [*gripper[:2], 0.0]])


def project_fingertips(
    camera: Camera, states: Float32[np.ndarray, "n 7"]
) -> Float32[np.ndarray, "n 2"]:
    """Project the fingertips of upright grippers, given as robot states, to the image of a camera of known pose."""
    tips = states[:, :3].astype(np.float64) - (0, 0, FINGERTIP_OFFSET_M)
    return _project(tips - np.asarray(camera.position), camera_axes(camera), camera.fovy_deg)


def _project(
    offsets: Float64[np.ndarray, "n 3"], axes: Float64[np.ndarray, "3 3"], fovy_deg: float
) -> Float32[np.ndarray, "n 2"]:
    right, up, back = (offsets @ axes).T
    points = np.stack([right, -up], 1) / (-back * np.tan(np.radians(fovy_deg) / 2))[:, None]
    points[(back >= 0) | (np.abs(points) >= 1).any(1)] = np.nan
    return np.asarray(points, np.float32)
