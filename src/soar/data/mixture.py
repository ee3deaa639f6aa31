"""Training batches: steps drawn from several sets of episodes in given shares, with hindsight goals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from soar.contract.contract import WIDOWX, Contract
from soar.data.frame_cache import Frames, common_contract
from soar.data.generated_goals import GeneratedGoals
from soar.data.prefetch import step_rng
from soar.data.relabel import Goals, Uniform, next_gripper_changes, summed_actions
from soar.errors import ConfigError
from soar.utils.config import to_plain

CORRECTIONS = "corrections"
"""Name of sources of corrected actions (`soar.improvement.methods.corrections.labels`), numbered where there are
several."""
DRAWS = 44
"""Uniform random numbers that come with each sample, for augmentation."""
LATE_DRAWS = 15
"""The last of them, drawn after all else, so that a training that began when there were fewer resumes exactly."""
SMALLEST_STD = 1e-3
"""Smallest standard deviation of an action dimension [m or rad]: noise in one that hardly moves isn't amplified."""

_POSE = (0, 1, 2, 5, 6)
"""State dimensions of the WidowX's pose: position, yaw, gripper opening."""

_Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]
Embed: TypeAlias = Callable[[Sequence[str]], Float32[np.ndarray, "n d"]]
"""Sentence encoder."""


@dataclass(frozen=True, eq=False)
class Source:
    """Episodes of a frame cache, their share of the samples, and their relabeling."""

    name: str
    frames: Frames
    weight: float
    """Share of the samples, relative to the other sources' weights."""
    goals: Goals = field(default_factory=Uniform)
    sum_steps: int = 1
    """Consecutive actions that are summed into one; the paper: 2 for autonomous data."""
    episodes: Int64[np.ndarray, " k"] | None = None
    """Numbers of the cache's episodes that are used; None is all."""
    generated_goals: GeneratedGoals | None = None
    """Generated subgoals that replace a share of the hindsight goals."""
    usable: Bool[np.ndarray, " n"] | None = None
    """Frames at which a sample may start; None is all but the episodes' last."""
    advantages: Int64[np.ndarray, " n"] | None = None
    """Label of each frame's action, 1 for a large advantage and 2 for a small one; None is 1 for all."""
    min_motion_m: float = 0.0
    """Least motion between two frames [m], where `soar.data.idle_frames` dropped idle frames; 0 where it didn't."""

    def steps(self) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
        """Return the frame at which each usable step starts, and the last frame of its episode."""
        chosen = self.chosen
        starts, ends = self.frames.starts[chosen], self.frames.starts[chosen + 1] - 1
        none = np.zeros(0, np.int64)
        frames = np.concatenate(
            [none, *(np.arange(s, e) for s, e in zip(starts, ends, strict=True))]
        )
        last = np.repeat(ends, ends - starts)
        if self.usable is None:
            return frames, last
        kept = self.usable[frames]
        return frames[kept], last[kept]

    @property
    def chosen(self) -> Int64[np.ndarray, " k"]:
        """Numbers of the episodes that are used."""
        return np.arange(len(self.frames.episodes)) if self.episodes is None else self.episodes


class Mixture:
    """Batches of a mixture of sources, for `soar.training.fit.fit`; step i's batch is always the same.

    Keys:
        "image", "goal" (n, r, r, 3) uint8.
        "image_NAME" (n, r, r, 3) uint8: of further cameras that all sources hold.
        "state" (n, s) float32.
        "action" (n, a) float32; with `chunk` above 1, h consecutive actions (n, h, a).
        "inside" (n, h) bool, only if `chunk` is above 1: whether each action lies before the episode's end.
        "pose" (n, 15) float32: x, y, z [m], yaw [rad] and gripper opening at the image, at the goal (NaN for a
            generated goal), and where the gripper switches next or, if that comes first, at the goal. Of other arms
            (n, 3 s): the states there.
        "points" (n, 3, 2) float32: the fingertips' image positions in these three frames, in [-1, 1], or NaN.
        "draws" (n, 44) float32, uniform in [0, 1).
        "advantage" (n,) int64: if a source has labels, 1 for an action with a large advantage, 2 for a small one.
        "share/NAME" (n,) float32: for each source, 1 where the sample comes from it.
        "words" (n, d) float32: with `embed`, the embedded instruction.
    """

    def __init__(
        self, sources: Sequence[Source], seed: int, embed: Embed | None = None, chunk: int = 1
    ) -> None:
        """Check and index the sources.

        Args:
            sources: the sources.
            seed: of all random draws.
            embed: sentence encoder of a language-conditioned policy.
            chunk: h, number of consecutive actions of a sample.
        """
        _check(sources)
        self.sources, self.chunk = tuple(sources), chunk
        self.seed = seed
        total = sum(s.weight for s in sources)
        self.shares: Float64[np.ndarray, " s"] = np.array([s.weight / total for s in sources])
        self._steps = [s.steps() for s in sources]
        self.contract = common_contract([e for s in sources for e in s.frames.episodes])
        """Meaning of actions and states, which the sources share."""
        self.pose_dims = pose_dims(self.contract)
        first = self.sources[0].frames.other_images
        self.cameras = tuple(c for c in first if all(c in s.frames.other_images for s in sources))
        """Further cameras whose images are in the batches."""
        self._gripper_changes = [
            next_gripper_changes(s.frames.actions, s.frames.starts, self.contract.action)
            for s in sources
        ]
        self._words = [_words(s.frames, embed) for s in sources] if embed else []

    def __len__(self) -> int:
        """Number of different steps."""
        return sum(len(frames) for frames, _ in self._steps)

    def __call__(self, step: int, size: int, rows: slice) -> dict[str, _Array]:
        """Return some rows of a step's batch of `size` samples."""
        rng = step_rng(self.seed, step)
        source = rng.choice(len(self.sources), size, p=self.shares)
        counts = np.array([len(frames) for frames, _ in self._steps])
        which = rng.integers(counts[source])
        early = rng.random((size, DRAWS - LATE_DRAWS), np.float32)
        goal = np.zeros(size, np.int64)
        for i, s in enumerate(self.sources):
            frames, last = (a[which[source == i]] for a in self._steps[i])
            goal[source == i] = s.goals.draw(rng, frames, last)
        chance = rng.random(size)
        draws = np.concatenate([early, rng.random((size, LATE_DRAWS), np.float32)], 1)
        return self._gather(source[rows], which[rows], goal[rows], draws[rows], chance[rows])

    def provenance(self) -> dict[str, Any]:
        """Return each source's share, size, store version, query and relabeling as plain data."""
        return {
            s.name: {
                "share": float(share),
                "episodes": len({s.frames.episodes[i].id for i in s.chosen}),
                "steps": len(frames),
                "store_version": s.frames.version,
                "query": asdict(s.frames.query),
                "goals": to_plain(s.goals, Goals),
                "sum_steps": s.sum_steps,
                "min_motion_m": s.min_motion_m,
                "generated_goals": s.generated_goals.share if s.generated_goals else 0.0,
            }
            for s, share, (frames, _) in zip(self.sources, self.shares, self._steps, strict=True)
        }

    def action_statistics(self) -> dict[str, list[float]]:
        """Return mean and standard deviation of each action dimension, sources weighted by their shares."""
        parts = zip(self.sources, self._steps, strict=True)
        return self._statistics(
            summed_actions(s.frames.actions, *steps, s.sum_steps, self.contract.action)
            for s, steps in parts
        )

    def state_statistics(self) -> dict[str, list[float]]:
        """Return mean and standard deviation of each state dimension, sources weighted by their shares."""
        parts = zip(self.sources, self._steps, strict=True)
        return self._statistics(s.frames.states[frames] for s, (frames, _) in parts)

    def _statistics(self, parts: Iterable[Float32[np.ndarray, "_n _d"]]) -> dict[str, list[float]]:
        mean: Float64[np.ndarray, " d"] | float = 0.0
        square: Float64[np.ndarray, " d"] | float = 0.0
        for share, values in zip(self.shares, parts, strict=True):
            numbers = values.astype(np.float64)
            mean = mean + share * numbers.mean(0)
            square = square + share * np.square(numbers).mean(0)
        std = np.maximum(np.sqrt(np.maximum(square - mean**2, 0)), SMALLEST_STD)
        return {"mean": np.asarray(mean).tolist(), "std": std.tolist()}

    def _gather(
        self,
        source: Int64[np.ndarray, " n"],
        which: Int64[np.ndarray, " n"],
        goal: Int64[np.ndarray, " n"],
        draws: Float32[np.ndarray, "n d"],
        chance: Float64[np.ndarray, " n"],
    ) -> dict[str, _Array]:
        n, r = len(source), self.sources[0].frames.resolution
        batch: dict[str, _Array] = {
            "image": np.empty((n, r, r, 3), np.uint8),
            "goal": np.empty((n, r, r, 3), np.uint8),
            "action": np.empty((n, self.chunk, self.contract.action.dim), np.float32),
            "inside": np.empty((n, self.chunk), bool),
            "pose": np.empty((n, 3 * len(self.pose_dims)), np.float32),
            "points": np.full((n, 3, 2), np.nan, np.float32),
            "state": np.empty((n, self.contract.state.dim), np.float32),
            "draws": draws,
        }
        for name in self.cameras:
            batch[f"image_{name}"] = np.empty((n, r, r, 3), np.uint8)
        if self._words:
            batch["words"] = np.empty((n, self._words[0].shape[1]), np.float32)
        for i, s in enumerate(self.sources):
            mine = source == i
            frames, last = (a[which[mine]] for a in self._steps[i])
            change = np.minimum(self._gripper_changes[i][frames], goal[mine])
            keyframes = (frames, goal[mine], change)
            batch["image"][mine] = s.frames.images[frames]
            batch["goal"][mine] = s.frames.images[goal[mine]]
            for name in self.cameras:
                batch[f"image_{name}"][mine] = s.frames.other_images[name][frames]
            batch["state"][mine] = s.frames.states[frames]
            batch["pose"][mine] = np.hstack(
                [s.frames.states[f][:, self.pose_dims] for f in keyframes]
            )
            if s.frames.fingertips is not None:
                batch["points"][mine] = np.stack([s.frames.fingertips[f] for f in keyframes], 1)
            if s.generated_goals is not None:
                self._use_generated(batch, s.generated_goals, np.flatnonzero(mine), frames, chance)
            for ahead in range(self.chunk):
                later = np.minimum(frames + ahead, last - 1)
                batch["action"][mine, ahead] = summed_actions(
                    s.frames.actions, later, last, s.sum_steps, self.contract.action
                )
                batch["inside"][mine, ahead] = frames + ahead < last
            if s.advantages is not None:
                batch.setdefault("advantage", np.ones(n, np.int64))[mine] = s.advantages[frames]
            batch[f"share/{s.name}"] = mine.astype(np.float32)
            if self._words:
                episode = s.frames.episode_of(frames)
                batch["words"][mine] = self._words[i][episode]
        if self.chunk == 1:
            batch["action"] = batch["action"][:, 0]
            del batch["inside"]
        return batch

    def _use_generated(
        self,
        batch: dict[str, _Array],
        goals: GeneratedGoals,
        rows: Int64[np.ndarray, " m"],
        frames: Int64[np.ndarray, " m"],
        chance: Float64[np.ndarray, " n"],
    ) -> None:
        """Replace the goals of some rows by generated ones, which have no pose and no points."""
        index = goals.image_indices[frames]
        use = (index >= 0) & (chance[rows] < goals.share)
        generated = rows[use]
        batch["goal"][generated] = goals.images[index[use]]
        k = len(self.pose_dims)
        batch["pose"][generated, k : 2 * k] = np.nan
        batch["points"][generated, 1] = np.nan


def pose_dims(contract: Contract) -> list[int]:
    """Return the state dimensions that an auxiliary loss asks for: five of the WidowX's state, all of another arm's."""
    usual = contract.state == WIDOWX.state
    return list(_POSE) if usual else list(range(contract.state.dim))


def upsampled_share(
    autonomous: int, pretraining: int, factor: float = 10, most: float = 0.5
) -> float:
    """Share of autonomous data when it is upsampled to `factor` times its size (paper, B.2.2).

    Autonomous data of 3 % of the pretraining data's size gets 30 %; never more than `most`, because a policy that
    sees too little pretraining data forgets it.
    """
    return min(most, factor * autonomous / pretraining)


def _check(sources: Sequence[Source]) -> None:
    if not sources:
        raise ConfigError("a mixture needs at least one source")
    names = [s.name for s in sources]
    if len(set(names)) < len(names):
        raise ConfigError(f"two sources of a mixture have the same name: {', '.join(names)}")
    if len(sizes := {s.frames.resolution for s in sources}) > 1:
        raise ConfigError(f"the sources' images are {sorted(sizes)} px; valid: one resolution")
    for s in sources:
        if s.weight <= 0 or s.sum_steps < 1:
            raise ConfigError(
                f"source '{s.name}' has weight {s.weight} and sum_steps {s.sum_steps}; "
                "valid: above 0, and at least 1"
            )
        if not len(s.steps()[0]):
            raise ConfigError(f"source '{s.name}' has no steps to draw")


def _words(frames: Frames, embed: Embed) -> Float32[np.ndarray, "e d"]:
    """Embed each episode's instruction."""
    instructions = [e.instruction for e in frames.episodes]
    unique = sorted(set(instructions))
    row = {text: i for i, text in enumerate(unique)}
    return embed(unique)[[row[text] for text in instructions]]
