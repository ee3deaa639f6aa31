"""How a hand would best go on from where it is, to a place that the robot has found out: a plan, in the robot's frame.

The motion is the scripted expert's (`soar.sim.expert.motion`): gentle at first, a funnel down on the place, fingers closed
for two steps, up, over, open, and up. It reads no simulator: a real arm of the same controller would plan the same.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from soar.utils.trajectories import MotionConfig, Vector3, funnel

REACHING, HOLDING, DONE = 0, 1, 2
"""What a plan does at a step."""
_PACE = MotionConfig()
_OPENS = 0.35
"""Share of its way that a gripper goes in a step."""
LIFT_M, _AWAY_M, _LONGEST = 0.04, 0.13, 45
_AT_M, _OVER_M, _TURNED_RAD = 0.008, 0.012, 0.12
_OPEN = 0.8
"""Opening from which a hand is open enough to reach for something."""
_STAY = 6


class MotionPlan(NamedTuple):
    """Predicted states, one a control step, the first of them now; and what is done at each."""

    states: Float64[np.ndarray, "t 7"]
    doing: Int64[np.ndarray, " t"]
    opens: Bool[np.ndarray, " t"]
    """Whether the fingers are told to open at each step."""

    @property
    def action(self) -> Float64[np.ndarray, "7"]:
        """Its first: delta in metres and radians, gripper 0 or 1; nothing moves where it is over at once."""
        step = np.zeros(6) if len(self.states) < 2 else self.states[1, :6] - self.states[0, :6]
        return np.append(step, float(self.opens[0]))


class PickPlaceTarget(NamedTuple):
    """What the hand is to do, positions in the robot's frame [m]."""

    grasp: Vector3
    yaw: float
    """Of the hand in the grasp [rad]."""
    drop: Vector3 | None
    """Where the hand lets go; None: not known, so that the plan ends with the thing lifted."""
    width: float
    """Opening of the gripper around the thing."""
    clear: float
    """Height of the hand at which what it carries passes above everything [m]; of what is pulled, its own."""
    above: float
    """Height at which the empty hand does [m]."""
    lift: float
    """How far what was grasped is lifted before it goes anywhere [m]."""


def plan_motion(
    state: Float[np.ndarray, "7"], errand: PickPlaceTarget, holding: bool, pace_m: float = 0.0
) -> MotionPlan:
    """The whole way from a state. `holding`: the thing is in the hand already. `pace_m`: length of the step before."""
    hand = _Hand(np.asarray(state, np.float64), errand.width, HOLDING if holding else REACHING)
    hand.pace = pace_m
    if not holding:
        if hand.opening < _OPEN:
            hand.stay("open", 2)
            hand.rise(LIFT_M, "open")
        hand.go(errand.grasp, errand.yaw, "open", errand.above, _AT_M)
        hand.stay("closed", 2)
        hand.doing = HOLDING
        hand.rise(errand.lift, "closed")
    if errand.drop is not None:
        hand.go(errand.drop, hand.yaw, "closed", errand.clear, _OVER_M)
        hand.doing = DONE
        hand.stay("open", 2)
        hand.leave()
    return hand.plan(not holding)


def retreat(state: Float[np.ndarray, "7"], pace_m: float = 0.0) -> MotionPlan:
    """From a state in which everything is done: straight up with open fingers, and there it stays."""
    hand = _Hand(np.asarray(state, np.float64), 0.0, DONE)
    hand.pace = pace_m
    hand.leave()
    return hand.plan(True)


_Fingers = Literal["open", "closed"]


class _Hand:
    """A hand that moves as it is told, from step to step."""

    def __init__(self, state: Float64[np.ndarray, "7"], width: float, doing: int) -> None:
        self.at, self.yaw, self.opening = state[:3].copy(), float(state[5]), float(state[6])
        self.width, self.doing, self.pace = width, doing, 0.0
        self.states, self.did = [state], [doing]
        self.opens: list[bool] = []
        self._tilt = state[3:5]

    def stay(self, fingers: _Fingers, steps: int) -> None:
        self.pace = 0.0
        for _ in range(steps):
            self._step(fingers)

    def rise(self, by: float, fingers: _Fingers) -> None:
        goal = self.at + np.array([0, 0, by])
        for _ in range(8):
            if self.at[2] > goal[2] - 0.004:
                return
            self._towards(goal, self.yaw, fingers)

    def go(self, goal: Vector3, yaw: float, fingers: _Fingers, clear: float, within: float) -> None:
        """Along a funnel: high while far to the side, down when over the goal."""
        for _ in range(_LONGEST):
            turn = abs(yaw - self.yaw)
            if np.linalg.norm(goal - self.at) < within and turn < _TURNED_RAD:
                return
            self._towards(funnel(self.at, goal, turn, clear), yaw, fingers)

    def leave(self) -> None:
        """Up with open fingers, and stay."""
        self.rise(max(0.0, _AWAY_M - self.at[2]), "open")
        self.stay("open", _STAY)

    def plan(self, opens: bool) -> MotionPlan:
        """What it did so far. `opens`: what the fingers are told if that is nothing."""
        told = [*self.opens, self.opens[-1] if self.opens else opens]
        return MotionPlan(np.array(self.states), np.array(self.did), np.array(told))

    def _towards(self, goal: Vector3, yaw: float, fingers: _Fingers) -> None:
        away = goal - self.at
        distance = float(np.linalg.norm(away))
        self.pace = min(_PACE.step_m, self.pace + _PACE.gain_m, distance)
        self.at = self.at + away / max(distance, 1e-9) * self.pace
        self._tilt = 0.5 * self._tilt
        self.yaw += float(np.clip(yaw - self.yaw, -_PACE.turn_rad, _PACE.turn_rad))
        self._step(fingers)

    def _step(self, fingers: _Fingers) -> None:
        closed = max(self.width, self.opening - _OPENS)
        self.opening = min(1.0, self.opening + _OPENS) if fingers == "open" else closed
        self.states.append(np.array([*self.at, *self._tilt, self.yaw, self.opening]))
        self.did.append(self.doing)
        self.opens.append(fingers == "open")
