"""A robot's episodes as attempts to grasp something and let it go somewhere: what was felt, and what was read before and after."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64

from soar.data.frame_cache import Frames
from soar.errors import ConfigError
from soar.improvement.methods.corrections.grasp_intervals import GraspInterval, grasp_intervals
from soar.tasks.grammar import Skill, skill_of
from soar.types import Observation

STILL = 0.04
"""A thing that is read nearer than this, of half an image, to where it was before the episode hasn't moved."""


@runtime_checkable
class PlaceReader(Protocol):
    """Reads places in images, x and y in [-1, 1]; `soar.subgoals.compact.generator.CompactSubgoals` does."""

    def find(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[np.ndarray, "n 2 2"]:
        """The thing and the container that each instruction names; NaN for none."""

    def read(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[np.ndarray, "n f 2"]:
        """What foresight foresees, as it is now, in the order of `soar.subgoals.compact.keypoint_predictor.FORESEEN`."""


class Attempt(NamedTuple):
    """An episode at one of the tasks that are a grasp and a release."""

    first: int
    """Its first frame."""
    instruction: str
    skill: Skill
    states: Float64[np.ndarray, "t 7"]
    grasps: list[GraspInterval]
    good: bool
    """Judged a success, and something was held."""
    found: Float[np.ndarray, "2 2"]
    """Where the thing and the container were read before it."""
    still: bool
    """The thing was read at the same place after it."""

    @property
    def held(self) -> list[GraspInterval]:
        """The grips in which something was between the fingers."""
        return [g for g in self.grasps if g.held]

    @property
    def untouched(self) -> int:
        """How many of its first frames show the thing where it was."""
        if self.held:
            return self.held[0].start
        return self.grasps[0].start if self.grasps and not self.still else len(self.states)

    @property
    def release(self) -> Float64[np.ndarray, "7"] | None:
        """The state in which the fingers opened for the last time; None: they didn't, or held nothing."""
        held = self.held
        return self.states[held[-1].end - 1] if held and held[-1].end < len(self.states) else None

    @property
    def grasp(self) -> Float64[np.ndarray, "7"]:
        """The state in which the fingers first held something."""
        at: Float64[np.ndarray, "7"] = self.states[
            min(self.held[0].start + 1, len(self.states) - 1)
        ]
        return at


def read_attempts(frames: Frames, reader: PlaceReader) -> list[Attempt]:
    """The episodes whose tasks are a grasp and a release, in the order in which they came.

    Raises:
        ConfigError: none is.
    """
    after = _next_ones(frames)
    manners = {i: m for i, e in enumerate(frames.episodes) if (m := skill_of(e.instruction))}
    chosen = list(manners)
    if not chosen:
        raise ConfigError("none of these tasks is to grasp something and let it go elsewhere")
    words = [frames.episodes[i].instruction for i in chosen]
    now = reader.find(observations_at(frames, frames.starts[chosen]), words)
    then = reader.find(
        observations_at(frames, frames.starts[[after.get(i, i) for i in chosen]]), words
    )
    attempts = []
    for i, found, later in zip(chosen, now, then, strict=True):
        start, end = frames.starts[i], frames.starts[i + 1]
        orders = frames.actions[start:end, 6].copy()
        orders[-1] = orders[-2]  # an episode's last frame has no action
        states, e = frames.states[start:end].astype(np.float64), frames.episodes[i]
        gripped = grasp_intervals(states, orders)
        attempts.append(
            Attempt(
                first=int(start),
                instruction=e.instruction,
                skill=manners[i],
                states=states,
                grasps=gripped,
                good=e.verdict.outcome == "success" and any(g.held for g in gripped),
                found=found,
                still=i in after and bool(np.linalg.norm(later[0] - found[0]) < STILL),
            )
        )
    return attempts


def _next_ones(frames: Frames) -> dict[int, int]:
    """The number of the episode that came after each at its station, but for the last ones."""
    stations: dict[str, list[int]] = {}
    for i, episode in enumerate(frames.episodes):
        stations.setdefault(episode.provenance.station, []).append(i)
    after: dict[int, int] = {}
    for numbers in stations.values():
        numbers.sort(key=lambda i: frames.episodes[i].provenance.started_s)
        after |= dict(pairwise(numbers))
    return after


def observations_at(frames: Frames, at: Sequence[int] | np.ndarray) -> list[Observation]:
    """Some frames as observations."""
    return [Observation(frames.images[i], frames.states[i], 0.0) for i in at]
