"""Numbers that mean something else than their contract says are named, and right ones aren't."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from soar.contract.contract import WIDOWX, ActionNumbers, Contract, Gripper, Numbers
from soar.contract.convert import Conversion
from soar.contract.evidence import Evidence


def moving(rng: np.random.Generator, steps: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Actions of an arm that opens, closes and moves randomly, and the states to which they lead, a little off."""
    actions = np.zeros((steps, 7), np.float32)
    actions[:, :3] = rng.normal(0, 0.015, (steps, 3))
    actions[:, 3:6] = rng.normal(0, 0.1, (steps, 3))
    actions[:, 6] = (np.arange(steps) // 10 + 1) % 2
    states = np.zeros((steps + 1, 7), np.float32)
    states[0] = (0.3, 0, 0.15, 0, 0, 0.2, 1)
    for t, action in enumerate(actions):
        states[t + 1, :6] = states[t, :6] + 0.9 * action[:6] + rng.normal(0, 0.002, 6)
        states[t + 1, 6] = states[t, 6] + 0.7 * (action[6] - states[t, 6])
    return actions, states


def contradictions(said: Contract, true: Contract = WIDOWX, episodes: int = 12) -> list[str]:
    """What is found in data of the contract `true` that are said to be of another one."""
    evidence, conversion = Evidence(said), Conversion(WIDOWX, true)
    for seed in range(episodes):
        actions, states = moving(np.random.default_rng(seed))
        evidence.add(conversion.action(actions, states[:-1]), conversion.state(states))
    return evidence.contradictions()


def both(**changes: Any) -> Contract:
    return replace(
        WIDOWX, action=replace(WIDOWX.action, **changes), state=replace(WIDOWX.state, **changes)
    )


def action(**changes: Any) -> Contract:
    return replace(WIDOWX, action=replace(WIDOWX.action, **changes))


def state(**changes: Any) -> Contract:
    return replace(WIDOWX, state=replace(WIDOWX.state, **changes))


ABSOLUTE = Contract(
    ActionNumbers(
        reference="absolute", rotation="quaternion_xyzw", length="mm", gripper=Gripper(1, 0)
    ),
    Numbers(rotation="rotvec", length="cm", gripper=Gripper(0, 100)),
)


@pytest.mark.parametrize(
    "right",
    [
        WIDOWX,
        ABSOLUTE,
        both(length="mm", angle="deg", gripper=Gripper(-1, 1)),
        both(axes="x_right_y_forward", zero_rotation="fingers_forward"),
        action(turn="left", frame="end_effector"),
    ],
)
def test_right_contracts_are_left_alone(right: Contract) -> None:
    assert contradictions(right, right) == []


@pytest.mark.parametrize(
    ("true", "found"),
    [
        (action(length="mm"), "action: x: the state moves 0.000"),
        (state(length="mm"), "state: positions are beyond 5 m"),
        (both(length="cm"), "state: positions are beyond 5 m"),
        (action(angle="deg"), "action: angles are too large for radians"),
        (state(angle="deg"), "state: angles are too large for radians"),
        (action(scale=(-1.0, 1.0, 1.0, 1.0, 1.0, 1.0)), "action: x: the state moves the other way"),
        (action(axes="x_right_y_forward"), "action: x: the state moves along y"),
        (both(gripper=Gripper(0, 100)), "action: gripper: values go from 0 to 100, and 0 should"),
        (state(gripper=Gripper(0, 0.08)), "state: gripper: values go from 0"),
        (action(gripper=Gripper(1, 0)), "action: gripper: the state closes where the action opens"),
        (both(gripper=Gripper(1, 0)), "state: gripper: 12 of 12 episodes begin with it closed"),
    ],
)
def test_another_sign_axis_unit_or_gripper_is_named(true: Contract, found: str) -> None:
    lines = contradictions(WIDOWX, true)
    assert any(line.startswith(found) for line in lines), lines


def test_meters_that_are_said_to_be_millimeters_are_named() -> None:
    (line,) = contradictions(both(length="mm"))
    assert line.startswith("state: no position is beyond 0.05 m")


def test_joints_are_compared_one_by_one() -> None:
    joints = ("a", "b")
    arm = Contract(
        ActionNumbers("joints", joints, gripper=None), Numbers("joints", joints, gripper=None)
    )
    evidence, rng = Evidence(arm), np.random.default_rng(0)
    actions = rng.normal(0, 0.05, (60, 2)).astype(np.float32)
    moves = np.cumsum(np.vstack([np.zeros(2), actions * [1, -1]]), axis=0)
    evidence.add(actions, moves.astype(np.float32))
    (line,) = evidence.contradictions()
    assert line.startswith("action: b: the state moves the other way")


def test_a_few_steps_say_nothing() -> None:
    assert contradictions(WIDOWX, both(gripper=Gripper(0, 100)), episodes=1) == []
