"""An arm in degrees that is driven by joints behaves like one that is driven by poses, up to the doctor's checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from soar.contract.contract import ActionNumbers, Contract, Gripper, Numbers
from soar.contract.convert import as_widowx
from soar.doctor.station import try_robot
from soar.doctor.station_checks import check_gripper, check_motion, check_pose
from soar.errors import ConfigError
from soar.robots.converted import ConvertedRobot
from soar.robots.ik import Kinematics, PoseRobot
from soar.robots.limits import Limits
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.sim.arm import END_EFFECTOR_SITE, JOINTS, add_arm
from soar.sim.control import EndEffectorController
from soar.types import Action, Observation

PERCENT = Gripper(0, 100)
CONTRACT = Contract(
    ActionNumbers(
        space="joints", joints=JOINTS, angle="deg", reference="absolute", gripper=PERCENT
    ),
    Numbers(space="joints", joints=JOINTS, angle="deg", gripper=PERCENT),
    period_s=0.1,
)


class DegreeArm(ToyRobot):
    """An arm like LeRobot's: goals of its joints in degrees, the gripper from 0 to 100."""

    period_s = 0.1
    contract = CONTRACT
    frames = 0

    def __init__(self) -> None:
        super().__init__()
        self.rest = np.rad2deg(EndEffectorController().neutral.joints)
        self.home()

    def observe(self) -> Observation:
        seen = super().observe()
        self.frames += 1
        seen.image[0, 1] = self.frames % 256  # noise, as every real camera has it
        return replace(seen, state=np.array([*self.joints, self.opening], np.float32))

    def execute(self, action: Action) -> Action:
        self._time_s += self.period_s
        self.joints, self.opening = action[:6].astype(np.float64), float(action[6])
        return action.copy()

    def home(self) -> None:
        if hasattr(self, "rest"):
            self.joints, self.opening = self.rest.copy(), 100.0


@pytest.fixture
def kinematics(tmp_path: Path) -> Kinematics:
    spec = mujoco.MjSpec()
    add_arm(spec)
    spec.compile()
    (tmp_path / "arm.xml").write_text(spec.to_xml())
    return Kinematics(str(tmp_path / "arm.xml"), END_EFFECTOR_SITE, "site")


def test_an_arm_driven_by_joints_passes_the_doctors_trial(kinematics: Kinematics) -> None:
    robot = SafeRobot(PoseRobot(DegreeArm(), CONTRACT, kinematics), Limits())
    assert (robot.contract.action.dim, robot.contract.period_s) == (7, 0.1)
    trial = try_robot(robot, Limits(), move=True, keeps_period=False)
    assert trial.observations[0].state[:3] == pytest.approx([0.21, 0, 0.16], abs=2e-3)
    for result in (
        check_pose("a", trial),
        check_motion("a", trial),
        *check_gripper("a", trial),
    ):
        assert result.health == "ok", result


def test_what_is_executed_is_what_the_arm_reaches(kinematics: Kinematics) -> None:
    robot = PoseRobot(DegreeArm(), CONTRACT, replace(kinematics, leash_m=1.0))
    before = robot.observe().state
    total = np.zeros(7)
    for _ in range(20):
        total += robot.execute(np.array([0.05, 0, 0, 0, 0, 0, 0], np.float32))
        after = robot.observe().state
    assert after[0] < 0.6  # the arm is shorter than the meter that was asked for
    assert (after - before)[:3] == pytest.approx(total[:3], abs=1e-4)
    assert after[6] == 0


class TurningArm(DegreeArm):
    """The same arm near a joint's half turn, which it may pass; it keeps what it was sent."""

    sent: Action

    def execute(self, action: Action) -> Action:
        self.sent = action.copy()
        return super().execute(action)


@pytest.mark.parametrize("step", [0.02, -0.02])
def test_a_joint_that_passes_half_a_turn_is_never_sent_a_turn_back(
    kinematics: Kinematics, tmp_path: Path, step: float
) -> None:
    spec = mujoco.MjSpec.from_file(kinematics.model)
    spec.joint(JOINTS[0]).range = [-2 * np.pi, 2 * np.pi]
    spec.compile()
    (tmp_path / "turning.xml").write_text(spec.to_xml())
    arm = TurningArm()
    arm.joints[0] = 179.5 * np.sign(-step)
    robot = PoseRobot(arm, CONTRACT, replace(kinematics, model=str(tmp_path / "turning.xml")))
    for _ in range(3):
        robot.observe()
        before = arm.joints.copy()
        robot.execute(np.array([0, step, 0, 0, 0, 0, 1], np.float32))
        assert np.abs(arm.sent[:6] - before).max() <= np.rad2deg(kinematics.max_turn_rad)
    assert abs(arm.joints[0]) > 181


def test_a_converted_arm_past_half_a_turn_is_sent_a_target_beside_it() -> None:
    arm = TurningArm()
    arm.joints[0] = 200.0
    source = replace(
        CONTRACT,
        action=replace(CONTRACT.action, wrap="continuous"),
        state=replace(CONTRACT.state, wrap="continuous"),
    )
    robot = SafeRobot(ConvertedRobot(arm, source, as_widowx(source)), Limits())
    assert robot.observe().state[0] == pytest.approx(np.deg2rad(200))
    assert robot.execute(np.array([0.01, 0, 0, 0, 0, 0, 1], np.float32))[0] == pytest.approx(
        0.01, abs=1e-5
    )
    assert arm.sent[0] == pytest.approx(200 + np.rad2deg(0.01), abs=1e-3)


def test_a_converted_hand_past_half_a_turn_is_sent_a_target_beside_it() -> None:
    class Turned(ToyRobot):
        def observe(self) -> Observation:
            return replace(
                super().observe(), state=np.array([0.3, 0, 0.1, 0, 0, 200, 1], np.float32)
            )

        def execute(self, action: Action) -> Action:
            self.sent = action.copy()
            return action

    arm, degrees = Turned(), Numbers(angle="deg", wrap="continuous")
    target = ActionNumbers(angle="deg", wrap="continuous", reference="absolute")
    source = Contract(target, degrees)
    robot = ConvertedRobot(arm, source, as_widowx(source))
    assert robot.observe().state[5] == pytest.approx(np.deg2rad(-160))
    executed = robot.execute(np.array([0, 0, 0, 0, 0, 0.1, 1], np.float32))
    assert arm.sent[5] == pytest.approx(200 + np.rad2deg(0.1), abs=1e-3)
    assert executed[5] == pytest.approx(0.1, abs=1e-5)


def test_what_does_not_fit_the_file_is_refused(kinematics: Kinematics, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no site 'hnd'; valid: "):
        PoseRobot(DegreeArm(), CONTRACT, replace(kinematics, frame="hnd"))
    other = replace(
        CONTRACT,
        action=replace(CONTRACT.action, joints=("a",)),
        state=replace(CONTRACT.state, joints=("a",)),
    )
    with pytest.raises(ConfigError, match="no joint 'a'; valid: waist, shoulder"):
        PoseRobot(DegreeArm(), other, kinematics)
    with pytest.raises(ConfigError, match="can't be read"):
        PoseRobot(DegreeArm(), CONTRACT, replace(kinematics, model=str(tmp_path / "none.urdf")))
    with pytest.raises(ConfigError, match="different axes"):
        Kinematics("arm.xml", "hand", fingers="x", opening="-x")
