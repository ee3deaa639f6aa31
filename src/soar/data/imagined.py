"""The subgoals that a policy really pursued, as goals to learn from beside hindsight's.

Hindsight goals are photographs; what a policy is given in its work is imagined. Where an episode went
well, the pair (imagined goal, what was done about it) is worth imitating too. Not in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from soar.data.frames import Frames
from soar.data.store import LanceStore
from soar.errors import ConfigError
from soar.media import resize


@dataclass(frozen=True, eq=False)
class Imagined:
    """Subgoals of a set of frames."""

    images: UInt8[np.ndarray, "k r r 3"]
    pursued: Int64[np.ndarray, " n"]
    """For each frame, which of the images was pursued there; -1 for none."""
    share: float
    """Of the samples that have one, how many get it for their goal."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"the share of imagined goals is {self.share}; valid: from 0 to 1")


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
