"""Where in the image a place is, as a pointing finger would say it: x right, y down, each in [-1, 1].

NaN for what is outside the image. Of the world as it is this is privileged: for labels and measuring.
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
    """Where the camera sees a place in the world; NaN for no place."""
    if position is None:
        return np.full(2, np.nan, np.float32)
    camera = world.data.camera("camera")
    fovy_deg = float(world.model.cam_fovy[camera.id])
    seen = _project(position[None] - camera.xpos, camera.xmat.reshape(3, 3), fovy_deg)
    return np.asarray(seen[0])


def arm_keypoints(world: World) -> Float32[np.ndarray, "4 2"]:
    """Where the camera sees the left and the right fingertip, the wrist, and the table's point below the hand.

    With the hand's own place they say all that an image shows of it: height, turn, tilt, and opening.
    """
    hand, rpy = world.gripper_pose()
    across = world.gripper_opening() * FINGER_TRAVEL_M + FINGER_THICKNESS_M / 2
    own = [(FINGERTIP_OFFSET_M, across, 0), (FINGERTIP_OFFSET_M, -across, 0), (-WRIST_TO_GRIPPER_M, 0, 0)]
    places = [hand + rotation(rpy) @ at for at in np.array(own)]
    return np.stack([project_point(world, p) for p in (*places, np.array([*hand[:2], 0.0]))])


def fingertips(camera: Camera, states: Float32[np.ndarray, "n 7"]) -> Float32[np.ndarray, "n 2"]:
    """Where a camera of known place sees the robot's fingertips."""
    tips = states[:, :3].astype(np.float64) - (0, 0, FINGERTIP_OFFSET_M)
    return _project(tips - np.asarray(camera.position), camera_axes(camera), camera.fovy_deg)


def _project(
    away: Float64[np.ndarray, "n 3"], axes: Float64[np.ndarray, "3 3"], fovy_deg: float
) -> Float32[np.ndarray, "n 2"]:
    right, up, back = (away @ axes).T
    points = np.stack([right, -up], 1) / (-back * np.tan(np.radians(fovy_deg) / 2))[:, None]
    points[(back >= 0) | (np.abs(points) >= 1).any(1)] = np.nan
    return np.asarray(points, np.float32)
