"""Subgoals that lost or made up an object, and what became of them (paper, appendix G).

For a subgoal and the camera image that it was generated from, the VLM is asked whether each object of the task is
there, and the same about some objects that are nowhere in the scene. An answer that turns from yes to no is a lost
object, one that turns from no to yes a made-up one. Asking the same of the camera's own image a little later shows how
often the VLM itself changes its mind.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from soar.data.store.lance import LanceStore
from soar.interfaces import VisionLanguageModel
from soar.pretraining.object_names import absent_name
from soar.sim.scenes.catalog import load_scene
from soar.tasks.question_file import task_of_episode
from soar.tasks.questions import present_question
from soar.types import EpisodeSummary, Image, Images, Query
from soar.utils.statistics import Interval, wilson

_ABSENT = 3
"""Names of absent objects that are asked for in each episode."""


class Wrong(NamedTuple):
    """Images in which an object was lost or made up."""

    lost: Interval
    made_up: Interval
    recovered: Interval
    """Share of the wrong ones whose successor in the episode is right."""


class Hallucinations(NamedTuple):
    """What is wrong with subgoals, and, as a control, with the camera's images at the end of their steps."""

    subgoals: Wrong
    camera: Wrong


class Flags(NamedTuple):
    """For each image of an episode whether an object was lost, and made up."""

    lost: Bool[np.ndarray, " n"]
    made_up: Bool[np.ndarray, " n"]


def find_hallucinations(store: LanceStore, vlm: VisionLanguageModel) -> Hallucinations:
    """Ask a VLM about all subgoals of a store of simulated episodes.

    Raises:
        StoreError: an episode can't be read.
        ModelUnavailable: no reply within the time limit.
    """
    shown, seen = [], []
    for episode in store.query(Query()):
        subgoals = store.steps(episode.id).subgoals
        if not subgoals:
            continue
        starts = [s.step for s in subgoals]
        ends = [*starts[1:], episode.length]
        frames = store.images(episode.id, [*starts, ends[-1]])
        shown.append(_compare(vlm, episode, frames[:-1], [s.image for s in subgoals]))
        seen.append(_compare(vlm, episode, frames[:-1], frames[1:]))
    return Hallucinations(count(shown), count(seen))


def _compare(
    vlm: VisionLanguageModel,
    episode: EpisodeSummary,
    before: Images,
    after: Images | Sequence[Image],
) -> Flags:
    """Compare the answers about each image with those about the one before it."""
    rng = np.random.default_rng(episode.provenance.seed)
    scene = load_scene(episode.provenance.scene)
    objects = task_of_episode(episode).objects
    names = [*objects, *(absent_name(scene, rng) for _ in range(_ABSENT))]
    questions = [present_question(name) for name in names]
    images = [*before, *after]
    replies = vlm.answer(images, [questions] * len(images))
    yes = np.array([[(a.p_yes or 0.0) >= 0.5 for a in row] for row in replies])
    was, now = yes[: len(before)], yes[len(before) :]
    named = np.arange(len(names)) < len(objects)
    return Flags((was & ~now & named).any(1), (~was & now & ~named).any(1))


def count(episodes: Sequence[Flags]) -> Wrong:
    """Count the images in which something is wrong, and those of them whose successor is right."""
    images = sum(len(e.lost) for e in episodes)
    wrong = [e.lost | e.made_up for e in episodes]
    pairs = [pair for w in wrong for pair in pairwise(w)]
    recovered = [not after for before, after in pairs if before]
    return Wrong(
        wilson(sum(int(e.lost.sum()) for e in episodes), images),
        wilson(sum(int(e.made_up.sum()) for e in episodes), images),
        wilson(sum(recovered), len(recovered)),
    )
