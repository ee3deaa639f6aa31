"""WidowX AI, the WidowX 250S's successor, with its maker's driver and a USB camera (pip install trossen-arm).

The driver gives rotation vectors of a hand whose zero points forward, and the gripper in meters. The contract says so,
and `convert: true` makes soar's numbers of them:

    # widowx_ai.yaml
    robot: widowx_ai:connect
    options: {address: 192.168.1.2, camera: /dev/video0}
    convert: true
    tasks: [put the green block in the wooden bowl]

Checked against the driver's published interface (trossen-arm 1.11.0) and a simulated arm, not yet on a real one: begin
with `soar doctor --no-move`, then `soar collect --dry-run`, then `slow: {episodes: 5}`.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from soar.contract.contract import ActionNumbers, Contract, Gripper, Numbers
from soar.contract.rotations import from_matrix, to_matrix
from soar.errors import RobotFault
from soar.robots.hardware.camera import Camera
from soar.types import Action, Observation

OPEN_M = 0.04
"""Position of the open gripper."""
HOME = np.array((0.29, 0.0, 0.16, 0.0, np.pi / 2, 0.0))
"""x, y, z [m] and rotation vector [rad] of the neutral pose: a quarter turn about y points the fingers down."""
_HOME_S = 2.0
_gripper = Gripper(closed=0.0, open=OPEN_M)


class WidowXAI:
    """The arm in Cartesian space. Deltas are added to the pose commanded last, turns from the left."""

    period_s = 0.2
    contract = Contract(
        action=ActionNumbers(
            rotation="rotvec", zero_rotation="fingers_forward", gripper=_gripper, turn="left"
        ),
        state=Numbers(rotation="rotvec", zero_rotation="fingers_forward", gripper=_gripper),
    )

    def __init__(self, arm: Any, space: Any, camera: Any) -> None:
        """Take a configured driver, its Cartesian `InterpolationSpace`, and a camera."""
        self._arm, self._space, self._camera = arm, space, camera
        self._goal = np.array(arm.get_cartesian_positions(), float)

    def observe(self) -> Observation:
        """The newest picture, the measured pose, and the gripper."""
        frame = self._camera.read()
        pose, opening = self._arm.get_cartesian_positions(), self._arm.get_gripper_position()
        return Observation(frame.image, np.array([*pose, opening], np.float32), frame.time_s)

    def execute(self, action: Action) -> Action:
        """Begin a motion that takes one period."""
        goal = self._goal.copy()
        goal[:3] += action[:3]
        turned = to_matrix(action[3:6].astype(float), "rotvec") @ to_matrix(goal[3:], "rotvec")
        goal[3:] = from_matrix(turned, "rotvec")
        self._move(goal, float(action[6]), self.period_s, blocking=False)
        return action.copy()

    def home(self) -> None:
        """Go to the neutral pose with an open gripper."""
        self._move(HOME, OPEN_M, _HOME_S, blocking=True)

    def hold(self) -> None:
        """Stop where the arm is, from any thread: the measured pose is its new goal."""
        self._goal = np.array(self._arm.get_cartesian_positions(), float)
        self._arm.set_cartesian_positions(list(self._goal), self._space, 0.0, False)

    def recover(self) -> None:
        """Clear the driver's error."""
        self._arm.clear_error()
        self._goal = np.array(self._arm.get_cartesian_positions(), float)

    def close(self) -> None:
        """Release arm and camera."""
        self._arm.cleanup()
        self._camera.close()

    def _move(self, goal: Any, opening: float, seconds: float, blocking: bool) -> None:
        try:
            self._arm.set_gripper_position(opening, seconds, False)
            self._arm.set_cartesian_positions(list(goal), self._space, seconds, blocking)
        except RuntimeError as error:
            problem = " ".join(self._arm.get_error_information().split())
            raise RobotFault(f"{error}: {problem}") from error
        self._goal = np.array(goal, float)


def connect(address: str, camera: str) -> WidowXAI:
    """What a station file names: the arm at an address, with an OpenCV camera."""
    import trossen_arm as maker  # type: ignore[import-not-found]

    arm, opened = maker.TrossenArmDriver(), time.monotonic()
    end_effector = maker.StandardEndEffector.wxai_v0_base
    arm.configure(maker.Model.wxai_v0, end_effector, address, True)
    arm.set_all_modes(maker.Mode.position)
    print(f"WidowX AI at {address} after {time.monotonic() - opened:.1f} s")
    return WidowXAI(arm, maker.InterpolationSpace.cartesian, Camera(camera))
