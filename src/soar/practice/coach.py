"""What a robot's own attempts say should have been done in each of them, failed ones too.

Where a thing was doesn't have to come from what already works: the arm's places in the image are known from what it
feels (`ArmView`), so a place in the image is a place that the hand can reach, and how far beside a thing is read from
where the fingers really find it is felt in the grasps that hold. No label comes from the simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Float64, Int64

from soar.data.frames import Frames
from soar.data.query import Query
from soar.data.store import LanceStore
from soar.errors import ConfigError
from soar.practice.attempts import Attempt, Reader, looks, read_attempts
from soar.practice.plans import HOLDING, LIFT_M, REACHING, Errand, Plan
from soar.practice.views import ArmView
from soar.sim.motion import Vector3
from soar.vlm.questions import Manner

LOOKS = 2000
"""Most frames that the arm's view is learned from."""
EVERY = 2
"""Of an episode's frames, each so manyth is looked at."""
TIPS = slice(1, 3)
"""Of an `ArmView`'s parts (hand, fingertips, wrist, the table's point below the hand)."""
_ARM = [0, 2, 3, 4, 5]
"""Of what foresight reads, those parts."""
HANDLES: dict[Manner, float] = {"open": 0.0, "close": 0.0, "fold": 0.25, "unfold": 0.25}
"""Tasks at a part of a thing, and how much of that part's way the thing's own place goes: a cabinet stays, and a cloth's
middle goes a quarter of its hem's way."""
_ABOVE_HANDLES_M = 0.1
"""Height at which an empty hand passes above drawers and cloths."""
_CLEAR_VIEW, _SAME = 0.25, 0.12
"""Fingertips farther off than the first don't hide a thing; readings nearer together than the second are of one place."""
_BEYOND_M = 0.03
_FEWEST = 3
"""Grasps or drops from which it is learned how far beside a place is read."""


def queries_by_scene(store: LanceStore, query: Query) -> list[Query]:
    """The query for each scene of its episodes, of whatever outcome. Raises ConfigError: there are none."""
    every = replace(query, outcomes=())
    scenes = query.scenes or sorted({e.provenance.scene for e in store.query(every)})
    if not scenes:
        raise ConfigError(f"'{store.path}' holds no such episodes")
    return [replace(every, scenes=(scene,)) for scene in scenes]


_Made = TypeVar("_Made")


def from_each_scene(make: Callable[[Frames], _Made], episodes: Sequence[Frames]) -> list[_Made]:
    """What is made of those scenes of which anything is known. Raises ConfigError: there are none."""
    made, reasons = [], []
    for frames in episodes:
        try:
            made.append(make(frames))
        except ConfigError as error:
            reasons.append(str(error))
    if not made:
        raise ConfigError("; ".join(reasons))
    return made


def arm_view(frames: Frames, reader: Reader, rng: np.random.Generator) -> ArmView:
    """Where the camera of these frames sees the arm."""
    chosen = np.sort(rng.choice(len(frames), min(LOOKS, len(frames)), replace=False))
    episode = np.searchsorted(frames.starts, chosen, side="right") - 1
    words = [frames.episodes[i].instruction for i in episode]
    seen = reader.read(looks(frames, chosen), words)
    return ArmView(frames.states[chosen], seen[:, _ARM])


class Knack(NamedTuple):
    """What the grasps that held say of tasks of one manner."""

    off: Float64[np.ndarray, "2"]
    """How far a thing is read from the fingertips that hold it."""
    height: float
    """Of the hand in the grasp [m]."""
    width: float
    """Opening of the gripper around a thing."""
    clear: float
    """Height of the hand that carries something over everything [m]."""
    lift: float
    """How far it is lifted at first [m]."""

    @classmethod
    def of(
        cls, kind: Manner, attempts: Sequence[Attempt], view: ArmView, height: float
    ) -> Knack | None:
        """From good attempts, else from all that held something. Things that are carried are all alike, but for where they are read."""
        alike = [a for a in attempts if a.held and _are_alike(a.manner, kind)]
        good = [a for a in alike if a.good] or alike
        if not good:
            return None
        mine = [a for a in good if a.manner == kind]
        known = mine if len(mine) >= _FEWEST else good
        carried = [a.states[a.held[-1].start : a.held[-1].end] for a in good]
        highest = [float(c[:, 2].max()) for c in carried]
        rises = [h - a.grasp[2] for h, a in zip(highest, good, strict=True)]
        return cls(
            *_beside([(a.grasp, a.found[0]) for a in known], view, height),
            float(np.median([np.median(c[3:, 6]) for c in carried])),
            float(np.median(highest)),
            float(np.median(rises)) if kind in HANDLES else LIFT_M,
        )


@dataclass(frozen=True)
class Feeling:
    """What the grasps that held, and what was let go, say of heights, and of what is read in the image."""

    knacks: dict[Manner, Knack]
    drop: tuple[Float64[np.ndarray, "2"], float]
    """How far containers are read from the fingertips that let something go over them, and the hand's height then [m]."""
    releases: dict[Manner, list[Float64[np.ndarray, "7"]]]
    """States in which good attempts let go."""
    moves: dict[Manner, Vector3]
    """How far good attempts moved what they held [m], the median."""
    low: Float64[np.ndarray, "2"]
    high: Float64[np.ndarray, "2"]
    """Between these x and y [m] the hand has been."""

    def pose(self, knack: Knack, height: float, yaw: float) -> Float64[np.ndarray, "7"]:
        """A state of the hand around a thing, in the middle of where it has been."""
        return np.array([*(self.low + self.high) / 2, height, 0, 0, yaw, knack.width])

    def within_reach(self, at: Float64[np.ndarray, "2"]) -> bool:
        """Whether the hand has been about there."""
        return bool((at > self.low - _BEYOND_M).all() and (at < self.high + _BEYOND_M).all())

    @classmethod
    def of(cls, attempts: Sequence[Attempt], view: ArmView, height: float) -> Feeling:
        """`height`: see `Coach`. Raises ConfigError: nothing was ever held."""
        kinds = {a.manner for a in attempts}
        knacks = {k: knack for k in kinds if (knack := Knack.of(k, attempts, view, height))}
        if not knacks:
            raise ConfigError("no fingers ever held anything: nothing is known of where things are")
        held = [a for a in attempts if a.held]
        good = [a for a in held if a.good] or held
        let_go = [(a, a.release) for a in good if a.release is not None]
        drops = [(state, a.found[1]) for a, state in let_go if a.manner == "put"]
        releases = {k: [state for a, state in let_go if a.manner == k] for k in kinds}
        moves = {
            k: np.median([s[:3] - a.grasp[:3] for a, s in let_go if a.manner == k], axis=0)
            for k, states in releases.items()
            if states
        }
        highest = max(knack.height for knack in knacks.values())
        been = np.concatenate([a.states[:, :2] for a in attempts])
        return cls(
            knacks,
            _beside(drops, view) if len(drops) >= _FEWEST else (np.zeros(2), highest + 0.016),
            releases,
            moves,
            been.min(0),
            been.max(0),
        )


def _are_alike(one: Manner, other: Manner) -> bool:
    return one == other or not {one, other} & HANDLES.keys()


def _beside(
    pairs: Sequence[tuple[Float64[np.ndarray, "7"], Float[np.ndarray, "2"]]],
    view: ArmView,
    quantile: float = 0.5,
) -> tuple[Float64[np.ndarray, "2"], float]:
    """Median of what is read less the fingertips' place, and a quantile of the hand's heights."""
    states = np.stack([state for state, _ in pairs])
    off = np.stack([read for _, read in pairs]) - view(states)[:, TIPS].mean(1)
    return np.nanmedian(off, axis=0), float(np.quantile(states[:, 2], quantile))


class Coach:
    """Knows, of the episodes before one camera, what should have been done."""

    def __init__(self, frames: Frames, reader: Reader, seed: int = 0, height: float = 0.5) -> None:
        """Read all attempts.

        Args:
            frames: all episodes, failures too, of one scene.
            reader: finds the named things, and reads where the arm is seen.
            height: quantile of the heights of hands that held something, which grasps aim at.

        Raises:
            ConfigError: too little was tried, or nothing was ever held.
        """
        self.frames, self.rng = frames, np.random.default_rng(seed)
        self.view = arm_view(frames, reader, self.rng)
        self.attempts = read_attempts(frames, reader)
        self._reader = reader
        self._feeling = Feeling.of(self.attempts, self.view, height)

    def grasped(self, attempt: Attempt) -> bool:
        """Whether what was held was the thing: it was held where that had been read."""
        knack = self._feeling.knacks.get(attempt.manner)
        if attempt.good or not attempt.held or not knack:
            return attempt.good
        tips = self.view(attempt.grasp[None])[0, TIPS].mean(0)
        return bool(np.linalg.norm(attempt.found[0] - knack.off - tips) < _SAME)

    def errand(self, attempt: Attempt) -> Errand | None:
        """What should have been done; None where that isn't known."""
        knack = self._feeling.knacks.get(attempt.manner)
        if knack is None:
            return None
        if self.grasped(attempt):
            at, yaw = attempt.grasp[:2], float(attempt.grasp[5])
        elif np.isnan(attempt.found[0]).any() or not attempt.grips:
            return None
        else:
            yaw = float(attempt.states[attempt.grips[0].start, 5])
            place = self._steady(attempt) - knack.off
            at = self.view.reach(place, self._feeling.pose(knack, knack.height, yaw), TIPS)
            if not self._feeling.within_reach(at):
                return None
        grasp = np.array([*at, knack.height])
        above = _ABOVE_HANDLES_M if attempt.manner in HANDLES else knack.clear - 0.02
        drop = self._drop(attempt, knack, grasp, yaw)
        return Errand(grasp, yaw, drop, knack.width, knack.clear, above, knack.lift)

    def _drop(self, attempt: Attempt, knack: Knack, grasp: Vector3, yaw: float) -> Vector3 | None:
        """Where this attempt rightly let go; else over the container, or as another one did; None: nobody did."""
        feeling = self._feeling
        if attempt.good and attempt.release is not None:
            return attempt.release[:3]
        if attempt.manner == "put":
            off, height = feeling.drop
            at = self.view.reach(attempt.found[1] - off, feeling.pose(knack, height, yaw), TIPS)
            return np.array([*at, height])
        if attempt.manner in HANDLES:
            move = feeling.moves.get(attempt.manner)
            return None if move is None else grasp + move
        others = feeling.releases[attempt.manner]
        return others[int(self.rng.integers(len(others)))][:3] if others else None

    def _steady(self, attempt: Attempt) -> Float64[np.ndarray, "2"]:
        """The thing's place in the image, from all looks before the first grip in which the hand was elsewhere."""
        times = np.arange(0, attempt.grips[0].start, EVERY)
        first: Float64[np.ndarray, "2"] = attempt.found[0].astype(np.float64)
        tips = self.view(attempt.states[times])[:, TIPS].mean(1)
        times = times[np.linalg.norm(tips - first, axis=1) > _CLEAR_VIEW]
        if not len(times):
            return first
        seen = looks(self.frames, attempt.first + times)
        read = self._reader.find(seen, [attempt.instruction] * len(times))[:, 0]
        same = read[np.linalg.norm(read - first, axis=1) < _SAME]
        steady: Float64[np.ndarray, "2"] = np.median([*same, first], axis=0)
        return steady

    def foresees(
        self, attempt: Attempt, errand: Errand, path: Plan, at: Int64[np.ndarray, " k"]
    ) -> Float64[np.ndarray, "k f 2"]:
        """What is seen at some steps of a plan, in the order of `soar.subgoals.foresight.FORESEEN`."""
        arm, doing = self.view(path.states[at]), path.doing[at]
        lying = self.lies(errand, errand.grasp)
        left = lying if errand.drop is None else self.lies(errand, errand.drop)
        held = np.where((doing == HOLDING)[:, None], arm[:, TIPS].mean(1), left)
        thing = np.where((doing == REACHING)[:, None], lying, held)
        if attempt.manner in HANDLES:
            thing = attempt.found[0] + HANDLES[attempt.manner] * (thing - lying)
        return np.concatenate([arm[:, :1], thing[:, None], arm[:, 1:]], 1)

    def lies(self, errand: Errand, place: Vector3) -> Float64[np.ndarray, "2"]:
        """Where fingertips around something on the table, or a little above it, are seen."""
        height = min(place[2], errand.grasp[2] + 0.01)
        state = np.array([*place[:2], height, 0, 0, errand.yaw, errand.width])
        return np.asarray(self.view(state[None])[0, TIPS].mean(0))
