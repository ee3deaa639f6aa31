"""Imagined subgoals as goals to learn from, beside hindsight's. Not in the paper.

Hindsight goals are photographs; what a policy is given in its work is imagined. Where an episode went
well, the pair (imagined goal, what was done about it) is worth imitating too: the subgoals that a robot
pursued, or such as it might have been given on the way of a demonstration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from soar.data.frames import Frames
from soar.data.store import LanceStore
from soar.errors import ConfigError, StoreError
from soar.interfaces import SubgoalGenerator
from soar.media import resize
from soar.progress import progress_bar

_SPAN = (8, 20)
"""Fewest and most control steps that one imagined goal stays a demonstration's."""
_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Imagined:
    """Subgoals of a set of frames."""

    images: UInt8[np.ndarray, "k r r 3"]
    pursued: Int64[np.ndarray, " n"]
    """For each frame, which of the images was pursued there; -1 for none."""
    share: float
    """Of the samples that have one, how many get it for their goal."""

    def __post_init__(self) -> None:
        _check(self.share)


def imagine_goals(
    frames: Frames, generator: SubgoalGenerator, share: float, seed: int, path: Path
) -> Imagined:
    """What the generator would have shown along every episode, imagined every few steps, as in the loop.

    Kept in `path`, which a second call reads.

    Raises:
        ConfigError: the share isn't one.
        StoreError: `path` belongs to other frames.
    """
    _check(share)
    if not path.exists():
        _imagine(frames, generator, seed, path)
    with np.load(path) as file:
        images, pursued = file["images"], file["pursued"]
    if len(pursued) != len(frames):
        raise StoreError(f"'{path}' belongs to other frames; remove it to imagine anew")
    return Imagined(images, pursued, share)


def _check(share: float) -> None:
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of imagined goals is {share}; valid: from 0 to 1")


def _imagine(frames: Frames, generator: SubgoalGenerator, seed: int, path: Path) -> None:
    rng = np.random.default_rng(seed)
    pursued: Int64[np.ndarray, " n"] = np.full(len(frames), -1, np.int64)
    moments: list[tuple[int, str]] = []
    for i, episode in enumerate(frames.episodes):
        at, end = int(frames.starts[i]), int(frames.starts[i + 1]) - 1
        while at < end:
            span = int(rng.integers(_SPAN[0], _SPAN[1] + 1))
            pursued[at : min(at + span, end)] = len(moments)
            moments.append((at, episode.instruction))
            at += span
    images = []
    with progress_bar() as bar:
        line = bar.add_task("imagining goals", total=len(moments), note="")
        for first in range(0, len(moments), _AT_ONCE):
            where, words = zip(*moments[first : first + _AT_ONCE], strict=True)
            made = generator.generate(frames.images[list(where)], words, rng)
            images.append(resize(made, frames.resolution))
            bar.advance(line, len(words))
    draft = path.with_suffix(".draft")
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft.open("wb") as file:
        np.savez(file, images=np.concatenate(images), pursued=pursued)
    draft.rename(path)


def imagined_goals(store: LanceStore, frames: Frames, share: float) -> Imagined | None:
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
    return Imagined(
        np.stack(images) if images else np.zeros((0, r, r, 3), np.uint8), pursued, share
    )
