"""What training sees: steps drawn from several sets of episodes in stated shares, with hindsight goals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int64

from soar.data.frame_cache import Frames
from soar.data.generated_goals import GeneratedGoals
from soar.data.prefetch import step_rng
from soar.data.relabel import Goals, Uniform, describe, next_turns, summed_actions
from soar.errors import ConfigError
from soar.types import EpisodeSummary

CORRECTIONS = "corrections"
"""Name of sources that hold what should have been done (`soar.improvement.methods.corrections.labels`), with a number where there are several."""
DRAWS = 29
"""Uniform random numbers that come with each sample, for augmentation."""

_POSE = [0, 1, 2, 5, 6]
"""Of a state: the hand's position and yaw, and the gripper's opening."""

SMALLEST_STD = 1e-3
"""Metres or radians: a dimension that never moves in the data must not turn trembling into z-scores."""

_Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]
Embed: TypeAlias = Callable[[Sequence[str]], Float32[np.ndarray, "n d"]]


@dataclass(frozen=True, eq=False)
class Source:
    """Some episodes of a frame cache, their share of the samples, and how they are relabelled."""

    name: str
    frames: Frames
    weight: float
    """Share of the samples, relative to the other sources' weights."""
    goals: Goals = field(default_factory=Uniform)
    sum_steps: int = 1
    """Consecutive actions that are added up into one; the paper: 2 for autonomous data."""
    episodes: Int64[np.ndarray, " k"] | None = None
    """Which of the cache's episodes; None is all."""
    generated_goals: GeneratedGoals | None = None
    """Subgoals that were pursued there, to be goals now and then."""
    min_motion_m: float = 0.0
    """Least way [m] between two frames, where `soar.data.idle_frames` has left pauses out; 0 where it hasn't."""

    def steps(self) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
        """The frame each usable step starts at, and the last frame of its episode."""
        chosen = self.chosen
        starts, ends = self.frames.starts[chosen], self.frames.starts[chosen + 1] - 1
        frames = [np.arange(s, e) for s, e in zip(starts, ends, strict=True)]
        none = np.zeros(0, np.int64)
        return np.concatenate([none, *frames]), np.repeat(ends, ends - starts)

    @property
    def chosen(self) -> Int64[np.ndarray, " k"]:
        """Numbers of the episodes drawn from."""
        return np.arange(len(self.frames.episodes)) if self.episodes is None else self.episodes


class Mixture:
    """Batches of a mixture, as `soar.training.fit.fit` reads them; step i's batch is always the same.

    Keys: "image" and "goal" (n, r, r, 3) uint8; "state" and "action" (n, 7) float32; "pose" (n, 15) float32: x, y, z
    [m], yaw [rad] and gripper opening, at the image, at the goal (NaN when that is imagined), and where
    the gripper turns next or, if that comes first, at the goal; "points" (n, 3, 2) float32: where the
    fingertips are seen then, x and y in [-1, 1], or NaN; "draws" (n, 29) float32 in [0, 1); for
    each source "share/NAME" (n,) float32, 1 where the sample comes from it; and with `embed`, "words"
    (n, d) float32.
    """

    def __init__(self, sources: Sequence[Source], seed: int, embed: Embed | None = None) -> None:
        """`embed`: sentences to vectors, for language-conditioned policies."""
        _check(sources)
        self.sources = tuple(sources)
        self.seed = seed
        total = sum(s.weight for s in sources)
        self.shares: Float64[np.ndarray, " s"] = np.array([s.weight / total for s in sources])
        self._steps = [s.steps() for s in sources]
        self._turns = [next_turns(s.frames.actions, s.frames.starts) for s in sources]
        self._words = [_words(s.frames, embed) for s in sources] if embed else []

    def __len__(self) -> int:
        """Number of different steps there are to draw."""
        return sum(len(frames) for frames, _ in self._steps)

    def __call__(self, step: int, size: int, rows: slice) -> dict[str, _Array]:
        """Rows of step's batch of `size` samples."""
        rng = step_rng(self.seed, step)
        source = rng.choice(len(self.sources), size, p=self.shares)
        counts = np.array([len(frames) for frames, _ in self._steps])
        which = rng.integers(counts[source])
        draws = rng.random((size, DRAWS), np.float32)
        goal = np.zeros(size, np.int64)
        for i, s in enumerate(self.sources):
            frames, last = (a[which[source == i]] for a in self._steps[i])
            goal[source == i] = s.goals.draw(rng, frames, last)
        chance = rng.random(size)
        return self._gather(source[rows], which[rows], goal[rows], draws[rows], chance[rows])

    def provenance(self) -> dict[str, Any]:
        """Each source's share, size, store version, query and relabelling, as plain data."""
        return {
            s.name: {
                "share": float(share),
                "episodes": len({s.frames.episodes[i].id for i in s.chosen}),
                "steps": len(frames),
                "store_version": s.frames.version,
                "query": asdict(s.frames.query),
                "goals": describe(s.goals),
                "sum_steps": s.sum_steps,
                "min_motion_m": s.min_motion_m,
                "generated_goals": s.generated_goals.share if s.generated_goals else 0.0,
            }
            for s, share, (frames, _) in zip(self.sources, self.shares, self._steps, strict=True)
        }

    def action_statistics(self) -> dict[str, list[float]]:
        """Mean and standard deviation of each action dimension, sources weighed by their shares."""
        mean: Float64[np.ndarray, "7"] = np.zeros(7)
        square: Float64[np.ndarray, "7"] = np.zeros(7)
        for s, share, (frames, last) in zip(self.sources, self.shares, self._steps, strict=True):
            actions = summed_actions(s.frames.actions, frames, last, s.sum_steps).astype(np.float64)
            mean += share * actions.mean(0)
            square += share * np.square(actions).mean(0)
        std = np.maximum(np.sqrt(np.maximum(square - mean**2, 0)), SMALLEST_STD)
        return {"mean": mean.tolist(), "std": std.tolist()}

    def _gather(
        self,
        source: Int64[np.ndarray, " n"],
        which: Int64[np.ndarray, " n"],
        goal: Int64[np.ndarray, " n"],
        draws: Float32[np.ndarray, "n d"],
        chance: Float64[np.ndarray, " n"],
    ) -> dict[str, _Array]:
        n, r = len(source), self.sources[0].frames.resolution
        image, target = (np.empty((n, r, r, 3), np.uint8) for _ in range(2))
        action, pose = np.empty((n, 7), np.float32), np.empty((n, 15), np.float32)
        points, state = np.full((n, 3, 2), np.nan, np.float32), np.empty((n, 7), np.float32)
        batch: dict[str, _Array] = {
            "image": image,
            "goal": target,
            "action": action,
            "pose": pose,
            "points": points,
            "state": state,
            "draws": draws,
        }
        if self._words:
            batch["words"] = np.empty((n, self._words[0].shape[1]), np.float32)
        for i, s in enumerate(self.sources):
            mine = source == i
            frames, last = (a[which[mine]] for a in self._steps[i])
            image[mine], target[mine] = s.frames.images[frames], s.frames.images[goal[mine]]
            then = np.minimum(self._turns[i][frames], goal[mine])
            moments = (frames, goal[mine], then)
            state[mine] = s.frames.states[frames]
            pose[mine] = np.hstack([s.frames.states[f][:, _POSE] for f in moments])
            if s.frames.fingertips is not None:
                points[mine] = np.stack([s.frames.fingertips[f] for f in moments], 1)
            if s.generated_goals is not None:
                pursued = s.generated_goals.image_indices[frames]
                use = (pursued >= 0) & (chance[mine] < s.generated_goals.share)
                target[np.flatnonzero(mine)[use]] = s.generated_goals.images[pursued[use]]
                pose[np.flatnonzero(mine)[use], 5:10] = np.nan
                points[np.flatnonzero(mine)[use], 1] = np.nan
            action[mine] = summed_actions(s.frames.actions, frames, last, s.sum_steps)
            batch[f"share/{s.name}"] = mine.astype(np.float32)
            if self._words:
                episode = np.searchsorted(s.frames.starts, frames, side="right") - 1
                batch["words"][mine] = self._words[i][episode]
        return batch


def divide(
    frames: Frames, by: Literal["regime", "scene", "outcome", "station"]
) -> dict[str, Int64[np.ndarray, " k"]]:
    """Episode numbers of a cache, grouped by where they come from or how they were judged."""
    read: dict[str, Callable[[EpisodeSummary], str]] = {
        "regime": lambda e: e.provenance.regime,
        "scene": lambda e: e.provenance.scene,
        "outcome": lambda e: e.verdict.outcome,
        "station": lambda e: e.provenance.station,
    }
    groups: dict[str, list[int]] = {}
    for i, episode in enumerate(frames.episodes):
        groups.setdefault(read[by](episode), []).append(i)
    return {k: np.array(v, np.int64) for k, v in sorted(groups.items())}


def upsampled_share(
    autonomous: int, pretraining: int, factor: float = 10, most: float = 0.5
) -> float:
    """Share of autonomous data when it is up-sampled `factor` times its size (paper, B.2.2).

    Autonomous data of 3 % of the pretraining data's size gets 30 %; never more than `most`, because
    co-training on too little pretraining data forgets it.
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
    """The embedding of each episode's instruction."""
    instructions = [e.instruction for e in frames.episodes]
    unique = sorted(set(instructions))
    row = {text: i for i, text in enumerate(unique)}
    return embed(unique)[[row[text] for text in instructions]]
