"""Steps of own episodes that another than the policy chose, and their weight in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, UInt8

from soar.data.frame_cache import Frames
from soar.data.mixture import Source
from soar.data.store.lance import LanceStore
from soar.data.store.steps import read_actors
from soar.types import ACTORS, Actor

_ALL = slice(None)


def with_actors(store: LanceStore, frames: Frames) -> Frames:
    """Return the frames of a store's episodes with `actors`; as they are if the policy chose every action."""
    if not any(e.interventions for e in frames.episodes):
        return frames
    actors: UInt8[np.ndarray, " n"] = np.zeros(len(frames), np.uint8)
    for start, episode in zip(frames.starts, frames.episodes, strict=False):
        if episode.interventions:
            chosen = [ACTORS.index(a) for a in read_actors(store.steps_path(episode.id))]
            actors[start : start + len(chosen)] = chosen
    return replace(frames, actors=actors)


def taken_over(frames: Frames, rows: slice = _ALL) -> Bool[np.ndarray, " n"]:
    """Return whether a person or an expert chose the action of each of some frames in the policy's place."""
    return _chosen_by(frames, rows, "person", "expert")


def weight_takeovers(source: Source, weight: float) -> list[Source]:
    """Return a source as one of the policy's own steps and one of a person's or an expert's in its place.

    Steps of a learner, which had the arm before the policy, are left out: they are what it must not learn.

    Args:
        source: its frames know who acted (`with_actors`).
        weight: weight of a step that was taken over relative to one of the policy's; 0 leaves them out.
    """
    if source.frames.actors is None:
        return [source]
    usable = np.ones(len(source.frames), bool) if source.usable is None else source.usable
    usable = usable & ~_chosen_by(source.frames, _ALL, "learner")
    taken = taken_over(source.frames)
    if weight == 1 or not taken.any():
        return [replace(source, usable=usable)]
    own = replace(source, usable=usable & ~taken)
    others = replace(source, usable=usable & taken, name=f"{source.name} takeovers")
    counts = len(own.steps()[0]), weight * len(others.steps()[0])
    if not counts[1]:
        return [own]
    if not counts[0]:
        return [others]
    shares = [source.weight * c / sum(counts) for c in counts]
    return [replace(s, weight=w) for s, w in zip((own, others), shares, strict=True)]


def _chosen_by(frames: Frames, rows: slice, *actors: Actor) -> Bool[np.ndarray, " n"]:
    if frames.actors is None:
        return np.full(len(frames.actions[rows]), "policy" in actors)
    return np.isin(frames.actors[rows], [ACTORS.index(a) for a in actors])
