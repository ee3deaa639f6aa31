"""A success detector of another package: `--detector moved` counts an episode as a success if the scene has changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soar import EpisodeFrames, Verdict, to_verdict


class MovedDetector:
    """Compares the last frame with the first. The models file's threshold is its first argument."""

    name = "moved"

    def __init__(self, threshold: float, scale: float = 5.0) -> None:
        """`scale`: mean difference of two pixels that counts as certain."""
        self.threshold, self._scale = threshold, scale

    def judge(self, episodes: Sequence[EpisodeFrames]) -> list[Verdict]:
        """Return one verdict for each episode."""
        return [self._one(e) for e in episodes]

    def _one(self, episode: EpisodeFrames) -> Verdict:
        first, last = episode.images[0].astype(np.float64), episode.images[-1].astype(np.float64)
        p = min(1.0, float(np.abs(last - first).mean()) / self._scale)
        return to_verdict(episode.task, p, self.name, self.threshold, f"difference gives {p:.2f}")
