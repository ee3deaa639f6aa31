"""Whether recorded numbers fit the contract that is declared for them.

What actions ask for is compared with what the states then do, both in the common convention: a wrong sign, axis, unit
or gripper shows as motion the other way, along another axis, or many times as large. Numbers that fit prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Float64

from soar.contract.contract import Contract, Gripper, Numbers
from soar.contract.convert import Pose, Vectors, apply, decode
from soar.contract.rotations import from_matrix, wrap

FEWEST_STEPS = 50
"""Control steps below which nothing is said."""
FEWEST_STARTS = 10
"""Episodes below which nothing is said about how they begin."""
FACTOR = 20
"""Ratio of measured and demanded motion that only another unit explains: the least that confuses two is 57."""
NEAREST_M, FARTHEST_M = 0.05, 5.0
"""Largest distance of an arm's hand from its base: at least, and at most."""
LEAST_MOTION = 1e-4
"""Root mean square of the motion in a control step below which nothing was asked for [m or rad]."""
MARGIN = 0.1
"""Share of the gripper's range by which values may leave it."""
RARE = 0.01
"""Share of the values that may be outliers."""


class Evidence:
    """What recorded actions and states say about a contract."""

    def __init__(self, contract: Contract) -> None:
        """Start without any. `contract`: what the numbers are said to mean."""
        self.contract = contract
        action, state = contract.action, contract.state
        self._comparable = (action.space, action.joints) == (state.space, state.joints)
        turns = ("turn about x", "turn about y", "turn about z")
        self._names = action.joints or ("x", "y", "z", *turns)
        self._steps = self._episodes = self._closed_starts = 0
        k = len(self._names)
        self._asked: Float64[np.ndarray, " k"] = np.zeros(k)
        self._made: Float64[np.ndarray, " k"] = np.zeros(k)
        self._cross: Float64[np.ndarray, "k k"] = np.zeros((k, k))
        self._farthest, self._far = 0.0, 0
        self._turned = {"action": 0, "state": 0}
        self._openings = {
            name: _Openings(part.gripper)
            for name, part in (("action", action), ("state", state))
            if part.gripper is not None
        }
        self._after = {True: (0, 0.0), False: (0, 0.0)}

    def add(
        self, actions: Float32[np.ndarray, "t action"], states: Float32[np.ndarray, "t+1 state"]
    ) -> None:
        """Add an episode."""
        meaning = self.contract
        acts, poses = actions.astype(np.float64), decode(states.astype(np.float64), meaning.state)
        self._steps += len(acts)
        self._episodes += 1
        if self._comparable:
            now, then = (_part(poses, rows) for rows in (slice(None, -1), slice(1, None)))
            asked = self._change(now, apply(acts, now, meaning.action))
            made = self._change(now, then)
            self._asked += np.square(asked).sum(0)
            self._made += np.square(made).sum(0)
            self._cross += asked.T @ made
        if meaning.state.space == "end_effector":
            distances = np.linalg.norm(poses.motion, axis=1)
            self._farthest = max(self._farthest, float(distances.max()))
            self._far += int((distances > FARTHEST_M).sum())
        delta = meaning.action.reference == "delta"
        most = np.pi / 2 if delta else 3 * np.pi
        self._turned["action"] += int((_turns(acts, meaning.action) > most).sum())
        self._turned["state"] += int((_turns(states, meaning.state) > 3 * np.pi).sum())
        self._add_gripper(acts, poses.opening, states)

    def contradictions(self) -> list[str]:
        """Return one line for each number that doesn't look like what the contract says."""
        if self._steps < FEWEST_STEPS:
            return []
        return [*self._units(), *self._motions(), *self._grippers()]

    def _add_gripper(
        self,
        actions: Float64[np.ndarray, "t action"],
        opening: Float64[np.ndarray, " t+1"],
        states: Float32[np.ndarray, "t+1 state"],
    ) -> None:
        if "state" in self._openings:
            self._openings["state"].add(states[:, -1])
            self._closed_starts += bool(opening[0] < 0.3)
        if "action" in self._openings:
            told = self._openings["action"].add(actions[:, -1])
            for wide, (count, total) in self._after.items():
                chosen = opening[1:][(told > 0.5) == wide]
                self._after[wide] = count + len(chosen), total + float(chosen.sum())

    def _change(self, now: Pose, then: Pose) -> Vectors:
        """Return motions in the base frame: of joints, or of position and rotation vector."""
        motion = then.motion - now.motion
        if self.contract.action.joints:
            return wrap(motion)
        turn = from_matrix(then.rotation @ np.swapaxes(now.rotation, -1, -2), "rotvec")
        return np.concatenate([motion, turn], -1)

    def _units(self) -> Iterator[str]:
        if self._far > RARE * self._steps:
            yield f"state: positions are beyond {FARTHEST_M:g} m; check its `length` and `scale`"
        elif 0 < self._farthest < NEAREST_M:
            yield f"state: no position is beyond {NEAREST_M:g} m; check its `length` and `scale`"
        for part, count in self._turned.items():
            if count > RARE * self._steps:
                yield f"{part}: angles are too large for radians; check its `angle` and `scale`"

    def _motions(self) -> Iterator[str]:
        least = LEAST_MOTION**2 * self._steps
        size = np.sqrt(np.outer(np.maximum(self._asked, 1e-30), np.maximum(self._made, 1e-30)))
        alike = self._cross / size
        for i, name in enumerate(self._names):
            if self._asked[i] < least:
                continue
            ratio, other = self._cross[i, i] / self._asked[i], int(np.abs(alike[i]).argmax())
            if alike[i, i] < -0.5:
                yield f"action: {name}: the state moves the other way; check `axes`, `frame` and signs"
            elif alike[i, i] > 0.5 and not 1 / FACTOR < ratio < FACTOR:
                yield (
                    f"action: {name}: the state moves {ratio:.3g} times as far as it is told; check `length`, "
                    "`angle`, `scale` and `reference`"
                )
            elif abs(alike[i, i]) < 0.3 and abs(alike[i, other]) > 0.7:
                yield f"action: {name}: the state moves along {self._names[other]}; check `axes` and `frame`"

    def _grippers(self) -> Iterator[str]:
        for part, openings in self._openings.items():
            if problem := openings.problem():
                yield f"{part}: gripper: {problem}; check `gripper`"
        (opened, wide), (closed, narrow) = self._after[True], self._after[False]
        known = "state" in self._openings and min(opened, closed) > RARE * self._steps
        if known and wide / opened < narrow / closed - MARGIN:
            yield (
                "action: gripper: the state closes where the action opens; check `gripper` of both: "
                "{closed: 1, open: 0} is an inverted one"
            )
        if self._episodes >= FEWEST_STARTS and self._closed_starts > 0.8 * self._episodes:
            yield (
                f"state: gripper: {self._closed_starts} of {self._episodes} episodes begin with it closed; "
                "is 0 open? Then {closed: 1, open: 0}"
            )


class _Openings:
    """Values of a gripper."""

    def __init__(self, gripper: Gripper) -> None:
        self._gripper = gripper
        self._count = self._outside = 0
        self._widest = self._high = -np.inf
        self._low = np.inf

    def add(
        self, values: Float64[np.ndarray, " n"] | Float32[np.ndarray, " n"]
    ) -> Float64[np.ndarray, " n"]:
        """Add values; return them as openings, from 0 closed to 1 open."""
        closed, opened = self._gripper.closed, self._gripper.open
        openings: Float64[np.ndarray, " n"] = (values.astype(np.float64) - closed) / (
            opened - closed
        )
        self._count += len(values)
        self._outside += int(((openings < -MARGIN) | (openings > 1 + MARGIN)).sum())
        self._widest = max(self._widest, float(openings.max(initial=-np.inf)))
        self._low = min(self._low, float(values.min(initial=np.inf)))
        self._high = max(self._high, float(values.max(initial=-np.inf)))
        return openings

    def problem(self) -> str:
        """Say what is strange about the values; "" for nothing."""
        used = self._high > self._low
        if self._outside <= RARE * self._count and not (used and self._widest < MARGIN):
            return ""
        gripper = self._gripper
        return (
            f"values go from {round(self._low, 3):g} to {round(self._high, 3):g}, and {gripper.closed:g} "
            "should be closed, "
            f"{gripper.open:g} open"
        )


def _part(poses: Pose, rows: slice) -> Pose:
    return Pose(poses.motion[rows], poses.rotation[rows], poses.opening[rows])


def _turns(
    values: Vectors | Float32[np.ndarray, "n d"], numbers: Numbers
) -> Float64[np.ndarray, " n"]:
    """Return the largest angle of each row [rad]; 0 where there is none, or any is possible."""
    first = 0 if numbers.joints else 3
    angular = bool(numbers.joints) or numbers.rotation in ("rpy", "yaw", "rotvec")
    if not angular or numbers.angle == "deg" or numbers.wrap == "continuous":
        return np.zeros(len(values))
    scale = np.array(numbers.scale or (1.0,) * numbers.motion_dim)
    angles = values[:, first : numbers.motion_dim] * scale[first:]
    largest: Float64[np.ndarray, " n"] = np.abs(angles).max(axis=1, initial=0.0)
    return largest
