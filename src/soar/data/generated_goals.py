"""Imagined subgoals as goals to learn from, beside hindsight's. Not in the paper.

Hindsight goals are photographs; what a policy is given in its work is imagined. So the hindsight goals of
demonstrations can be shown as the imagination would paint them, and where a robot's episode went well,
the subgoals that it pursued are worth imitating too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Int64, UInt8

from soar.data.frame_cache import Frames
from soar.data.store.lance import LanceStore
from soar.errors import ConfigError, StoreError
from soar.types import Images, Observation
from soar.utils.media import resize
from soar.utils.progress import progress_bar

_SPAN = (6, 14)
"""Fewest and most control steps from where a goal is painted to what it shows."""
_AT_ONCE = 32


GoalGenerator: TypeAlias = Callable[
    [Sequence[Observation], Sequence[str], Sequence[Observation], np.random.Generator], Images
]
"""What an imagination would have made of observations and instructions, had it foreseen what the futures show."""


@dataclass(frozen=True, eq=False)
class GeneratedGoals:
    """Subgoals of a set of frames."""

    images: UInt8[np.ndarray, "k r r 3"]
    image_indices: Int64[np.ndarray, " n"]
    """For each frame, which of the images was pursued there; -1 for none."""
    share: float
    """Of the samples that have one, how many get it for their goal."""

    def __post_init__(self) -> None:
        _check(self.share)

    def at(self, frames: Int64[np.ndarray, " m"]) -> GeneratedGoals:
        """The same, of some of the frames."""
        return replace(self, image_indices=self.image_indices[frames])


def regenerated_goals(
    frames: Frames, painter: GoalGenerator, share: float, seed: int, path: Path
) -> GeneratedGoals:
    """Every episode, a few steps ahead at a time, as the imagination would have painted what came.

    Kept in `path`, which a second call reads.

    Raises:
        ConfigError: the share isn't one.
        StoreError: `path` belongs to other frames.
    """
    _check(share)
    if not path.exists():
        _repaint(frames, painter, seed, path)
    with np.load(path) as file:
        images, pursued = file["images"], file["pursued"]
    if len(pursued) != len(frames):
        raise StoreError(f"'{path}' belongs to other frames; remove it to imagine anew")
    return GeneratedGoals(images, pursued, share)


def _check(share: float) -> None:
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of imagined goals is {share}; valid: from 0 to 1")


def _repaint(frames: Frames, painter: GoalGenerator, seed: int, path: Path) -> None:
    rng = np.random.default_rng(seed)
    pursued: Int64[np.ndarray, " n"] = np.full(len(frames), -1, np.int64)
    moments: list[tuple[int, int, str]] = []
    for i, episode in enumerate(frames.episodes):
        at, end = int(frames.starts[i]), int(frames.starts[i + 1]) - 1
        while at < end:
            future = min(at + int(rng.integers(_SPAN[0], _SPAN[1] + 1)), end)
            pursued[at:future] = len(moments)
            moments.append((at, future, episode.instruction))
            at = future
    images = []
    with progress_bar() as bar:
        line = bar.add_task("painting goals", total=len(moments), note="")
        for first in range(0, len(moments), _AT_ONCE):
            now, later, words = zip(*moments[first : first + _AT_ONCE], strict=True)
            made = painter(_seen(frames, now), words, _seen(frames, later), rng)
            images.append(resize(made, frames.resolution))
            bar.advance(line, len(words))
    draft = path.with_suffix(".draft")
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft.open("wb") as file:
        np.savez(file, images=np.concatenate(images), pursued=pursued)
    draft.rename(path)


def _seen(frames: Frames, at: Sequence[int]) -> list[Observation]:
    return [Observation(frames.images[i], frames.states[i], 0.0) for i in at]


def recorded_subgoals(store: LanceStore, frames: Frames, share: float) -> GeneratedGoals | None:
    """The subgoals of all episodes of `frames`, which came from `store`; None when no sample gets one."""
    if not share:
        return None
    r = frames.resolution
    images: list[UInt8[np.ndarray, "r r 3"]] = []
    pursued: Int64[np.ndarray, " n"] = np.full(len(frames), -1, np.int64)
    for i, episode in enumerate(frames.episodes):
        first, end = frames.starts[i], frames.starts[i + 1]
        for subgoal in store.steps(episode.id).subgoals:
            pursued[first + subgoal.step : end] = len(images)
            images.append(resize(subgoal.image, r))
    return GeneratedGoals(
        np.stack(images) if images else np.zeros((0, r, r, 3), np.uint8), pursued, share
    )
