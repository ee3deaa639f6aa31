"""Generated subgoals as training goals, besides hindsight goals. Not in the paper.

Hindsight goals are camera frames, but at run time a policy gets generated images. So the hindsight goals of
demonstrations can be rendered by the subgoal generator, and where a robot's episode succeeded, the subgoals that it
executed are goals to imitate, too.
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
from soar.utils.arrays import check_indices, read_arrays
from soar.utils.files import replace_file
from soar.utils.media import resize
from soar.utils.progress import progress_bar

_AHEAD = (6, 14)
"""Range of control steps from a goal's observation to the moment that it shows."""
_BATCH = 32


GoalGenerator: TypeAlias = Callable[
    [Sequence[Observation], Sequence[str], Sequence[Observation], np.random.Generator], Images
]
"""Renders goals of observations and instructions as if it had predicted the given future observations."""


@dataclass(frozen=True, eq=False)
class GeneratedGoals:
    """Generated goals of a set of frames."""

    images: UInt8[np.ndarray, "k r r 3"]
    image_indices: Int64[np.ndarray, " n"]
    """Index of each frame's goal in `images`; -1 for none."""
    share: float
    """Probability that a sample that has a generated goal gets it in place of its hindsight goal."""

    def __post_init__(self) -> None:
        _check(self.share)

    def at(self, frames: Int64[np.ndarray, " m"]) -> GeneratedGoals:
        """Return the goals of some of the frames."""
        return replace(self, image_indices=self.image_indices[frames])


def regenerated_goals(
    frames: Frames, generator: GoalGenerator, share: float, seed: int, path: Path
) -> GeneratedGoals:
    """Render goals along every episode, each a few steps ahead, as if the generator had predicted what happened.

    They are cached in `path`, from which a second call reads them.

    Raises:
        ConfigError: the share isn't from 0 to 1, or the file is damaged.
        StoreError: `path` belongs to other frames.
    """
    _check(share)
    if not path.exists():
        _generate(frames, generator, seed, path)
    arrays = read_arrays(path, {"images": "u1 g r r 3", "pursued": "i8 n"})
    images, indices = arrays["images"], arrays["pursued"]
    check_indices(path, indices[indices != -1], len(images))
    if len(indices) != len(frames):
        raise StoreError(f"'{path}' belongs to other frames; remove it to generate goals again")
    return GeneratedGoals(images, indices, share)


def recorded_subgoals(store: LanceStore, frames: Frames, share: float) -> GeneratedGoals | None:
    """Read the subgoals that were executed in the episodes of `frames`, which came from `store`.

    Return None if no sample would get one.
    """
    if not share:
        return None
    r = frames.resolution
    images: list[UInt8[np.ndarray, "r r 3"]] = []
    indices: Int64[np.ndarray, " n"] = np.full(len(frames), -1, np.int64)
    for i, episode in enumerate(frames.episodes):
        first, end = frames.starts[i], frames.starts[i + 1]
        for subgoal in store.steps(episode.id).subgoals:
            indices[first + subgoal.step : end] = len(images)
            images.append(resize(subgoal.image, r))
    return GeneratedGoals(
        np.stack(images) if images else np.zeros((0, r, r, 3), np.uint8), indices, share
    )


def _check(share: float) -> None:
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of generated goals is {share}; valid: from 0 to 1")


def _generate(frames: Frames, generator: GoalGenerator, seed: int, path: Path) -> None:
    rng = np.random.default_rng(seed)
    indices: Int64[np.ndarray, " n"] = np.full(len(frames), -1, np.int64)
    samples: list[tuple[int, int, str]] = []
    for i, episode in enumerate(frames.episodes):
        now, end = int(frames.starts[i]), int(frames.starts[i + 1]) - 1
        while now < end:
            future = min(now + int(rng.integers(_AHEAD[0], _AHEAD[1] + 1)), end)
            indices[now:future] = len(samples)
            samples.append((now, future, episode.instruction))
            now = future
    images = []
    with progress_bar() as bar:
        task = bar.add_task("generating goals", total=len(samples), note="")
        for first in range(0, len(samples), _BATCH):
            at, futures, instructions = zip(*samples[first : first + _BATCH], strict=True)
            batch = generator(
                frames.observations(at), instructions, frames.observations(futures), rng
            )
            images.append(resize(batch, frames.resolution))
            bar.advance(task, len(at))
    with replace_file(path) as file:
        np.savez(file, images=np.concatenate(images), pursued=indices)
