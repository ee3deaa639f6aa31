"""Recorded episodes as attempts to grasp an object and release it elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64

from soar.data.frame_cache import Frames
from soar.errors import ConfigError
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.grasp_intervals import GraspInterval, grasp_intervals
from soar.tasks.grammar import parse_instruction
from soar.types import Direction, Observation, Skill

Kind: TypeAlias = tuple[Skill, Direction | None]
"""Skill and direction of a task: releases on one side of the table say nothing about the other side."""


@runtime_checkable
class KeypointReader(Protocol):
    """Reads image positions, x and y in [-1, 1]; `CompactSubgoalGenerator` does."""

    def locate_objects(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[np.ndarray, "n 2 2"]:
        """Return the positions of the object and the container that each instruction names; NaN for none."""

    def read_keypoints(
        self, observations: Sequence[Observation], instructions: Sequence[str]
    ) -> Float32[np.ndarray, "n f 2"]:
        """Return the present positions of the keypoints `soar.subgoals.compact.keypoint_predictor.PREDICTED_POINTS`."""


class Attempt(NamedTuple):
    """An episode of a task that consists of one grasp and one release."""

    first_frame: int
    """Index of its first frame among all frames."""
    instruction: str
    kind: Kind
    states: Float64[np.ndarray, "t 7"]
    grasps: list[GraspInterval]
    succeeded: bool
    """Whether it was judged a success and something was held."""
    positions: Float[np.ndarray, "2 2"]
    """Image positions of object and container, read before the episode."""
    unmoved: bool
    """Whether the object was read at the same position after the episode."""

    @property
    def skill(self) -> Skill:
        """The task's skill."""
        return self.kind[0]

    @property
    def held(self) -> list[GraspInterval]:
        """The grasps in which something was between the fingers."""
        return [g for g in self.grasps if g.held]

    @property
    def untouched_frames(self) -> int:
        """Number of frames, from the first one, in which the object is at its initial position."""
        if self.held:
            return self.held[0].start
        return self.grasps[0].start if self.grasps and not self.unmoved else len(self.states)

    @property
    def release(self) -> Float64[np.ndarray, "7"] | None:
        """The state in which the gripper last opened; None if it did not, or held nothing."""
        held = self.held
        return self.states[held[-1].end - 1] if held and held[-1].end < len(self.states) else None

    @property
    def grasp(self) -> Float64[np.ndarray, "7"]:
        """The state in which the gripper first held something."""
        state: Float64[np.ndarray, "7"] = self.states[
            min(self.held[0].start + 1, len(self.states) - 1)
        ]
        return state


def read_attempts(
    frames: Frames, reader: KeypointReader, config: CorrectionsConfig
) -> list[Attempt]:
    """Return the episodes whose tasks consist of one grasp and one release, in order.

    Raises:
        ConfigError: there are none.
    """
    following = _following_episodes(frames)
    kinds = {
        i: (task.skill, task.direction)
        for i, e in enumerate(frames.episodes)
        if (task := parse_instruction(e.instruction)).skill
    }
    chosen = list(kinds)
    if not chosen:
        raise ConfigError("none of these tasks is to grasp an object and release it elsewhere")
    words = [frames.episodes[i].instruction for i in chosen]
    before = reader.locate_objects(frames.observations(frames.starts[chosen]), words)
    after = reader.locate_objects(
        frames.observations(frames.starts[[following.get(i, i) for i in chosen]]), words
    )
    attempts = []
    for i, positions, later in zip(chosen, before, after, strict=True):
        start, end = frames.starts[i], frames.starts[i + 1]
        commands = frames.actions[start:end, 6].copy()
        commands[-1] = commands[-2]  # an episode's last frame has no action
        states, e = frames.states[start:end].astype(np.float64), frames.episodes[i]
        grasps = grasp_intervals(states, commands, config)
        motion = np.linalg.norm(later[0] - positions[0])
        attempts.append(
            Attempt(
                first_frame=int(start),
                instruction=e.instruction,
                kind=kinds[i],
                states=states,
                grasps=grasps,
                succeeded=e.verdict.outcome == "success" and any(g.held for g in grasps),
                positions=positions,
                unmoved=i in following and bool(motion < config.unmoved_radius),
            )
        )
    return attempts


def _following_episodes(frames: Frames) -> dict[int, int]:
    """Return the index of each episode's next one at its station, without the last ones."""
    stations: dict[str, list[int]] = {}
    for i, episode in enumerate(frames.episodes):
        stations.setdefault(episode.provenance.station, []).append(i)
    following: dict[int, int] = {}
    for indices in stations.values():
        indices.sort(key=lambda i: frames.episodes[i].provenance.started_s)
        following |= dict(pairwise(indices))
    return following
