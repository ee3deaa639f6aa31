"""Conversions lead back to where they began, and known poses have known numbers in every convention."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soar.contract.contract import (
    ROTATION_NAMES,
    WIDOWX,
    ActionNumbers,
    Contract,
    Gripper,
    Numbers,
    Rotation,
)
from soar.contract.convert import (
    Conversion,
    apply,
    as_widowx,
    decode,
    encode,
    express,
    followed,
    shortened,
    spread,
)
from soar.contract.rotations import from_matrix, to_matrix, wrap
from soar.errors import ConfigError

ROTATIONS = [r for r in ROTATION_NAMES if r not in ("yaw", "none")]
angle = st.floats(-1.4, 1.4)
"""Pitch stays away from a quarter turn, where roll and yaw are one."""
wide = st.floats(-math.pi + 1e-3, math.pi - 1e-3)
grippers = st.sampled_from(
    [Gripper(), Gripper(1, 0), Gripper(-1, 1), Gripper(0, 100), Gripper(0, 0.08)]
)
poses = st.tuples(*[st.floats(-1, 1)] * 3, wide, angle, wide, st.floats(0, 1)).map(np.array)
motions = st.tuples(*[st.floats(-0.05, 0.05)] * 3, *[st.floats(-0.3, 0.3)] * 3, st.floats(0, 1))


@st.composite
def meanings(draw: st.DrawFn) -> Contract:
    """A contract of an end effector with three rotations, in any other convention."""
    common: dict[str, Any] = {
        "length": draw(st.sampled_from(["m", "cm", "mm"])),
        "angle": draw(st.sampled_from(["rad", "deg"])),
        "axes": draw(st.sampled_from(["x_forward_y_left", "x_right_y_forward"])),
        "zero_rotation": draw(st.sampled_from(["fingers_down", "fingers_up", "fingers_forward"])),
        "wrap": draw(st.sampled_from(["signed", "unsigned"])),
        "gripper": draw(grippers),
    }
    rotation = draw(st.sampled_from(ROTATIONS))
    reference: Any = draw(st.sampled_from(["delta", "absolute"]))
    turn: Any = draw(st.sampled_from(["left", "right"]))
    frame: Any = draw(st.sampled_from(["base", "end_effector"]))
    action = ActionNumbers(
        **common, rotation=rotation, reference=reference, turn=turn, frame=frame,
        scale=(0.5,) * 3 + (1.0,) * len(ROTATION_NAMES[rotation]),
    )  # fmt: skip
    return Contract(action, Numbers(**common, rotation=draw(st.sampled_from(ROTATIONS))))


@given(meanings(), poses)
@settings(max_examples=100, deadline=None)
def test_a_state_comes_back_from_any_convention(contract: Contract, state: np.ndarray) -> None:
    there = Conversion(WIDOWX, contract).state(state)
    back = Conversion(contract, WIDOWX).state(there)
    assert there.shape == (contract.state.dim,)
    off = back - state
    off[3:6] = wrap(off[3:6].astype(float))
    assert np.abs(off).max() < 5e-5


@given(meanings(), poses, motions.map(np.array))
@settings(max_examples=100, deadline=None)
def test_an_action_comes_back_from_any_convention(
    contract: Contract, state: np.ndarray, action: np.ndarray
) -> None:
    state = state * [1, 1, 1, 0.3, 0.3, 1, 1]  # where adding angles has no jump
    there = Conversion(WIDOWX, contract).action(action, state)
    back = Conversion(contract, WIDOWX).action(there, Conversion(WIDOWX, contract).state(state))
    assert np.abs(back - action).max() < 2e-4


@given(meanings(), poses, motions.map(np.array))
@settings(max_examples=50, deadline=None)
def test_an_action_leads_to_the_same_pose_in_every_convention(
    contract: Contract, state: np.ndarray, action: np.ndarray
) -> None:
    now = decode(state, WIDOWX.state)
    goal = apply(action, now, WIDOWX.action)
    same = apply(express(goal, now, contract.action), now, contract.action)
    assert same.motion == pytest.approx(goal.motion, abs=1e-6)
    assert same.rotation == pytest.approx(goal.rotation, abs=1e-6)
    assert same.opening == pytest.approx(goal.opening, abs=1e-6)


@given(st.sampled_from(ROTATIONS), wide, angle, wide)
@settings(max_examples=100, deadline=None)
def test_a_rotation_comes_back_from_its_numbers(
    rotation: Rotation, roll: float, pitch: float, yaw: float
) -> None:
    matrix = to_matrix(np.array([[roll, pitch, yaw]]), "rpy")
    numbers = from_matrix(matrix, rotation)
    assert numbers.shape == (1, len(ROTATION_NAMES[rotation]))
    assert to_matrix(numbers, rotation) == pytest.approx(matrix, abs=1e-9)


def test_rotations_are_those_of_scipy() -> None:
    scipy = pytest.importorskip("scipy.spatial.transform")
    numbers = np.random.default_rng(0).normal(size=(50, 3))
    for ours, theirs in (
        (to_matrix(numbers, "rotvec"), scipy.Rotation.from_rotvec(numbers)),
        (to_matrix(numbers, "rpy"), scipy.Rotation.from_euler("xyz", numbers)),
    ):
        assert ours == pytest.approx(theirs.as_matrix(), abs=1e-12)
        assert from_matrix(ours, "quaternion_xyzw") == pytest.approx(
            theirs.as_quat(canonical=True), abs=1e-9
        )
        assert from_matrix(ours, "rotvec") == pytest.approx(theirs.as_rotvec(), abs=1e-9)


def test_a_half_turn_has_an_axis() -> None:
    matrix = to_matrix(np.array([0.0, math.pi, 0.0]), "rotvec")
    assert abs(from_matrix(matrix, "rotvec")) == pytest.approx([0, math.pi, 0], abs=1e-9)


def test_a_hand_that_points_down_with_roll_pi_is_at_zero() -> None:
    theirs = replace(WIDOWX, state=Numbers(zero_rotation="fingers_up"))
    state = np.array([0.3, 0, 0.1, math.pi, 0, 0, 1])
    assert Conversion(theirs, WIDOWX).state(state)[3:6] == pytest.approx([0, 0, 0], abs=1e-6)


def test_a_hand_that_points_down_with_pitch_a_quarter_turn_is_at_zero() -> None:
    theirs = replace(WIDOWX, state=Numbers(zero_rotation="fingers_forward", rotation="rotvec"))
    state = np.array([0.3, 0, 0.1, 0, math.pi / 2, 0, 1])
    assert Conversion(theirs, WIDOWX).state(state)[3:6] == pytest.approx([0, 0, 0], abs=1e-6)


def test_forward_is_y_where_x_points_right() -> None:
    theirs = replace(
        WIDOWX,
        action=ActionNumbers(axes="x_right_y_forward"),
        state=Numbers(axes="x_right_y_forward"),
    )
    state = np.array([0.1, 0.3, 0.2, 0, 0, 0.4, 1])
    convert = Conversion(theirs, WIDOWX)
    assert convert.state(state) == pytest.approx([0.3, -0.1, 0.2, 0, 0, 0.4, 1], abs=1e-6)
    step = convert.action(np.array([0.0, 0.01, 0, 0, 0, 0, 0]), state)
    assert step == pytest.approx([0.01, 0, 0, 0, 0, 0, 0], abs=1e-7)


def test_grippers_of_every_range_open_and_close() -> None:
    for gripper in (Gripper(1, 0), Gripper(0, 100), Gripper(-1, 1)):
        theirs = replace(WIDOWX, state=Numbers(gripper=gripper))
        for value, opening in ((gripper.closed, 0), (gripper.open, 1)):
            state = np.array([0, 0, 0, 0, 0, 0, value])
            assert Conversion(theirs, WIDOWX).state(state)[6] == pytest.approx(opening)


def test_many_states_convert_at_once_as_one_by_one() -> None:
    theirs = replace(WIDOWX, state=Numbers(rotation="quaternion_wxyz"))
    states = np.random.default_rng(0).uniform(-1, 1, (5, 4, 7))
    many = Conversion(WIDOWX, theirs).state(states)
    assert many.shape == (5, 4, 8)
    assert many[2, 3] == pytest.approx(Conversion(WIDOWX, theirs).state(states[2, 3]))


JOINTS = tuple(f"joint{i}" for i in range(6))


def test_joints_in_degrees_come_back() -> None:
    ours = Contract(
        ActionNumbers(space="joints", joints=JOINTS, reference="absolute"),
        Numbers(space="joints", joints=JOINTS),
    )
    theirs = Contract(
        ActionNumbers(space="joints", joints=JOINTS, angle="deg", gripper=Gripper(0, 100)),
        Numbers(space="joints", joints=JOINTS, angle="deg", gripper=Gripper(0, 100)),
    )
    state, goal = np.linspace(-1, 1, 7), np.linspace(-1, 1.1, 7)
    there, back = Conversion(ours, theirs), Conversion(theirs, ours)
    delta = there.action(goal, state)
    assert delta[:6] == pytest.approx(np.rad2deg(goal - state)[:6], abs=1e-4)
    assert back.action(delta, there.state(state)) == pytest.approx(goal, abs=1e-5)


@given(
    st.lists(st.floats(-10, 10), min_size=6, max_size=6),
    st.floats(-0.3, 0.3),
    st.sampled_from(["signed", "unsigned", "continuous"]),
    st.sampled_from(["rad", "deg"]),
    st.sampled_from(["delta", "absolute"]),
)
@settings(max_examples=100, deadline=None)
def test_joints_beyond_half_a_turn_stay_on_their_turn(
    joints: list[float], step: float, range_: Any, angle: Any, reference: Any
) -> None:
    common: dict[str, Any] = {"space": "joints", "joints": JOINTS, "angle": angle, "wrap": range_}
    theirs = Contract(
        ActionNumbers(**common, reference=reference, gripper=None), Numbers(**common, gripper=None)
    )
    ours = as_widowx(theirs)
    there, back = Conversion(theirs, ours), Conversion(ours, theirs)
    state = np.array(joints)
    driver = back.state(state)
    assert there.state(driver) == pytest.approx(state, abs=1e-5)
    sent = back.action(np.full(6, step), state)
    goal = apply(
        sent.astype(np.float64), decode(driver.astype(np.float64), theirs.state), theirs.action
    )
    assert goal.motion == pytest.approx(state + step, abs=1e-5)


def test_joints_are_no_conversion_of_a_pose() -> None:
    joints = replace(WIDOWX, action=ActionNumbers(space="joints", joints=JOINTS))
    with pytest.raises(ConfigError, match=r"joints joint0, .* pose: that takes `kinematics` in"):
        Conversion(joints, WIDOWX)


@given(meanings(), motions.map(np.array), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_an_action_spread_over_shorter_periods_leads_to_the_same_pose(
    contract: Contract, action: np.ndarray, parts: int
) -> None:
    start = decode(np.array([0.3, 0, 0.1, 0.1, 0.2, 0.3, 1]), WIDOWX.state)
    meaning = replace(contract.action, frame="base")
    numbers = express(apply(action, start, WIDOWX.action), start, meaning)
    pose = start
    for part in spread(numbers, meaning, parts):
        pose = apply(part.astype(np.float64), pose, meaning)
    goal = apply(numbers, start, meaning)
    assert pose.motion == pytest.approx(goal.motion, abs=1e-5)
    assert pose.rotation == pytest.approx(goal.rotation, abs=1e-5)
    assert pose.opening == pytest.approx(goal.opening, abs=1e-5)


@given(meanings(), poses, motions.map(np.array), st.floats(0.1, 1))
@settings(max_examples=100, deadline=None)
def test_a_share_of_an_action_is_that_share_of_its_way_and_of_its_turn(
    contract: Contract, state: np.ndarray, action: np.ndarray, share: float
) -> None:
    start = decode(state, WIDOWX.state)
    numbers = express(apply(action, start, WIDOWX.action), start, contract.action)
    here = encode(start, contract.state)
    short = shortened(numbers, here, contract, share).astype(np.float64)
    whole, part = apply(numbers, start, contract.action), apply(short, start, contract.action)
    assert part.motion - start.motion == pytest.approx(
        share * (whole.motion - start.motion), abs=1e-5
    )
    turns = [from_matrix(p.rotation @ start.rotation.T, "rotvec") for p in (whole, part)]
    assert turns[1] == pytest.approx(share * turns[0], abs=1e-5)
    assert part.opening == pytest.approx(whole.opening, abs=1e-6)


def test_numbers_of_another_width_are_refused_with_their_names() -> None:
    with pytest.raises(ConfigError, match="6 numbers; the contract has 7: x, y, z, roll"):
        Conversion(WIDOWX, WIDOWX).state(np.zeros(6))


def test_a_quaternion_of_zeros_is_refused() -> None:
    theirs = replace(WIDOWX, state=Numbers(rotation="quaternion_xyzw"))
    with pytest.raises(ConfigError, match="quaternion"):
        Conversion(theirs, WIDOWX).state(np.zeros(8))


@given(meanings(), poses, motions.map(np.array), motions.map(np.array))
@settings(max_examples=100, deadline=None)
def test_one_action_leads_where_two_led(
    contract: Contract, state: np.ndarray, first: np.ndarray, then: np.ndarray
) -> None:
    action = contract.action
    if action.frame == "end_effector" and action.turn == "left":
        action = replace(action, frame="base")  # in the hand's axes, a way depends on the pose
    start = decode(state, WIDOWX.state)
    between = apply(first, start, WIDOWX.action)
    end = apply(then, between, WIDOWX.action)
    both = followed(express(between, start, action), express(end, between, action), action)
    reached = apply(both.astype(np.float64), start, action)
    assert np.abs(reached.motion - end.motion).max() < 1e-5
    assert np.abs(reached.rotation - end.rotation).max() < 1e-5
    assert abs(reached.opening - between.opening) < 1e-5
