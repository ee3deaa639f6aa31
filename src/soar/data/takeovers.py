"""Steps of own episodes that a person or an expert chose in the policy's place, and their weight in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from soar.data.frame_cache import Frames
from soar.data.mixture import Source
from soar.data.store.lance import LanceStore
from soar.data.store.steps import read_actors


def with_takeovers(store: LanceStore, frames: Frames) -> Frames:
    """Return the frames of a store's episodes with `taken_over`; as they are if the policy chose every action."""
    if not any(e.interventions for e in frames.episodes):
        return frames
    taken: Bool[np.ndarray, " n"] = np.zeros(len(frames), bool)
    for start, episode in zip(frames.starts, frames.episodes, strict=False):
        if episode.interventions:
            actors = np.array(read_actors(store.steps_path(episode.id)))
            taken[start : start + len(actors)] = actors != "policy"
    return replace(frames, taken_over=taken)


def weight_takeovers(source: Source, weight: float) -> list[Source]:
    """Return a source as one of the policy's own steps and one of those in its place.

    Args:
        source: its frames know which steps were taken over (`with_takeovers`).
        weight: weight of such a step relative to one of the policy's; 0 leaves them out, 1 changes nothing.
    """
    taken = source.frames.taken_over
    if taken is None or weight == 1 or not taken.any():
        return [source]
    usable = np.ones(len(taken), bool) if source.usable is None else source.usable
    own = replace(source, usable=usable & ~taken)
    others = replace(source, usable=usable & taken, name=f"{source.name} takeovers")
    counts = len(own.steps()[0]), weight * len(others.steps()[0])
    if not counts[1]:
        return [own]
    if not counts[0]:
        return [others]
    shares = [source.weight * c / sum(counts) for c in counts]
    return [replace(s, weight=w) for s, w in zip((own, others), shares, strict=True)]
