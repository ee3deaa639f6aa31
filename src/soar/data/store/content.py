"""What the store can hold: checks of an episode before it is written, and of what an older version wrote."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import get_args

import numpy as np
from jaxtyping import Float32, Float64

from soar.errors import ContentError, StoreError
from soar.types import ACTORS, Episode, Outcome, Verdict

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""Ids of episodes, which are names of files as well."""


def check_episode(episode: Episode) -> None:
    """Raise ContentError for an episode that couldn't be read back as it is, or that no one could learn from."""
    n, e = len(episode) + 1, episode
    problem = (
        _shapes(e, n) or _cameras(e, n) or numbers(e.actions, e.commanded, e.states, e.times_s)
    )
    if problem:
        raise ContentError(f"the store can't hold the episode: {problem}")
    steps = [s.step for s in episode.subgoals]
    if steps != sorted(set(steps)) or any(not 0 <= s < n for s in steps):
        raise ContentError(f"subgoals must be in order, one a step, within 0..{n - 1}; got {steps}")
    if len(e.actors) not in (0, n - 1) or not set(e.actors) <= set(ACTORS):
        raise ContentError(
            f"actors are {len(e.actors)} of {n - 1} steps, {sorted(set(e.actors))}; valid: none, or one of "
            f"{', '.join(ACTORS)} for each step"
        )
    check_verdict(e.verdict)
    if not math.isfinite(episode.provenance.started_s):
        raise ContentError(f"started_s is {episode.provenance.started_s}; valid: a finite number")


def check_verdict(verdict: Verdict) -> None:
    """Raise ContentError for a verdict that couldn't be read back as it is."""
    outcomes, v = get_args(Outcome), verdict
    if v.outcome not in outcomes:
        raise ContentError(f"the outcome is {v.outcome!r:.40}; valid: {', '.join(outcomes)}")
    for p in (v.p_success, *(vote.p_success for vote in v.votes)):
        number = isinstance(p, int | float | np.floating) and not isinstance(p, bool)
        if p is not None and not (number and 0 <= p <= 1):
            raise ContentError(f"p_success is {p!r:.40}; valid: from 0 to 1")
    texts = (v.question, v.raw, v.judge, v.decoded)
    if wrong := [t for t in texts if not isinstance(t, str)]:
        raise ContentError(f"a verdict's text is {wrong[0]!r:.40}; valid: text")


def _shapes(episode: Episode, n: int) -> str:
    """Say which array has a wrong shape or type; "" if none has."""
    images = [episode.images, *(s.image[None] for s in episode.subgoals)]
    if wrong := [i for i in images if i.dtype != np.uint8]:
        return f"images must be uint8, not {wrong[0].dtype}"
    if wrong := [i for i in images if i.ndim != 4 or i.shape[3] != 3 or 0 in i.shape[1:]]:
        return f"an image must be height x width x 3, not {wrong[0].shape[1:]}"
    action, state = episode.contract.action.dim, episode.contract.state.dim
    shapes = {
        "images": (episode.images.shape[:1], (n,)),
        "states": (episode.states.shape, (n, state)),
        "times_s": (episode.times_s.shape, (n,)),
        "commanded": (episode.commanded.shape, (n - 1, action)),
        "actions": (episode.actions.shape, (n - 1, action)),
    }
    if bad := [
        f"{name} {found}, not {right}" for name, (found, right) in shapes.items() if found != right
    ]:
        return f"an episode of {n - 1} steps has {n} observations; wrong: {', '.join(bad)}"
    return ""


def _cameras(episode: Episode, n: int) -> str:
    """Say which of the contract's cameras is missing or has wrong images; "" if none has."""
    named, others = episode.contract.camera_names[1:], episode.other_images
    if set(named) != set(others):
        return f"its contract has the cameras {list(named)} beside the first, it has {list(others)}"
    for name, images in others.items():
        if images.dtype != np.uint8 or images.shape[::3] != (n, 3) or 0 in images.shape:
            return f"images of camera {name} are {images.dtype} {images.shape}, not uint8 ({n}, h, w, 3)"
    return ""


def numbers(
    actions: Float32[np.ndarray, "t action"],
    commanded: Float32[np.ndarray, "t action"],
    states: Float32[np.ndarray, "t+1 state"],
    times_s: Float64[np.ndarray, "t+1"],
) -> str:
    """Say which of an episode's numbers isn't finite, or whether its clock stops or goes back; "" if all is well."""
    arrays: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.floating]]] = {
        "actions": actions, "commanded": commanded, "states": states, "times_s": times_s,
    }  # fmt: skip
    for name, array in arrays.items():
        finite = np.isfinite(array)
        if not finite.all():
            return f"{name} of step {np.argwhere(~finite)[0][0]} holds a number that isn't finite"
    late = np.flatnonzero(np.diff(times_s) <= 0)
    return f"time_s doesn't advance after step {late[0]}" if len(late) else ""


def check_id(id: object) -> str:
    """Return an episode's id. Raises StoreError: it could be the name of another file."""
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise StoreError(f"{id!r:.60} is no episode's id; valid: letters, digits, - and _")
    return id
