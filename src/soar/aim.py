"""What practice teaches about where to aim. Not in the paper, whose imagination stays as it is.

In a scene with another camera an imagination may put the hand a finger's width beside the thing, each time in
the same direction. So exploring episodes aim a little beside that, each elsewhere and the same all along
(`interfaces.Steerable`), and which of them are judged a success says where to aim from then on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from soar import checkpoint as checkpoints
from soar.models import imagination_folder, with_steps_ahead
from soar.types import EpisodeSummary, Offset

REACH = 0.1
"""How far beside an imagination's own aim the best one may be, in x and in y, of half an image."""
NEAR = 0.04
"""And how far it will usually be: a normal curve's standard deviation, before anything is tried."""
_WIDTHS = np.array([0.03, 0.045, 0.065, 0.1])
"""How far beside the best aim success gets rarer: a normal curve's standard deviation."""
_RATES = np.linspace(0.05, 0.95, 10)
"""Chances of success with the best aim."""
_STEPS = 21


class Aim(NamedTuple):
    """Where to aim, of half an image beside where an imagination would."""

    offset: Offset
    spread: Offset
    """How uncertain that is: the standard deviation in x and in y."""
    episodes: int
    """That it was learned from."""


def learn_aim(episodes: Iterable[EpisodeSummary]) -> Aim:
    """The mean of what is likely after these episodes' verdicts; without evidence, no offset at all.

    Success is taken to be a normal curve of the distance from the best aim, as wide for all tasks, and for
    each of them another height. All widths and heights are as likely at first.
    """
    tasks: dict[str, list[tuple[float, float, bool]]] = {}
    for e in episodes:
        if e.verdict.outcome != "unknown":
            told = e.provenance.exploration
            right, down = told.get("aside_x", 0.0), told.get("aside_y", 0.0)
            tried = (right, down, e.verdict.outcome == "success")
            tasks.setdefault(e.instruction, []).append(tried)
    grid = np.linspace(-REACH, REACH, _STEPS)
    far = grid[:, None, None] ** 2 + grid[:, None] ** 2
    likely = np.broadcast_to(-far / (2 * NEAR**2), (_STEPS, _STEPS, len(_WIDTHS))).copy()
    for each in tasks.values():
        right, down, success = np.array(each).T
        likely += _evidence(grid, np.stack([right, down], 1), success > 0.5)
    p = np.exp(likely - likely.max()).sum(2)
    p /= p.sum()
    over = p.sum(1), p.sum(0)
    x, y = (float(p @ grid) for p in over)
    spread = [float(np.sqrt(p @ (grid - mean) ** 2)) for p, mean in zip(over, (x, y), strict=True)]
    return Aim((x, y), (spread[0], spread[1]), sum(map(len, tasks.values())))


def aimed(source: str, offset: Offset, folder: str | Path) -> str:
    """A compact imagination that aims so far beside where `source` does, kept in `folder`; how to name it.

    Raises:
        CheckpointError: `source` isn't one.
    """
    given = checkpoints.load(imagination_folder(source), "subgoals")
    before = given.config.get("aim", (0.0, 0.0))
    aim = [round(a + b, 4) for a, b in zip(before, offset, strict=True)]
    told = {**given.provenance, "aim_learned": {"started_from": given.id, "offset": list(offset)}}
    new = replace(given, config={**given.config, "aim": aim}, provenance=told)
    checkpoints.save(Path(folder), new)
    at = source.removeprefix(with_steps_ahead(source)[0])
    return f"{folder}{at}"


def _evidence(
    grid: Float64[np.ndarray, " g"],
    asides: Float64[np.ndarray, "n 2"],
    success: Bool[np.ndarray, " n"],
) -> Float64[np.ndarray, "g g w"]:
    """Log-likelihood of one task's outcomes for each best aim (x, y) and width, over all heights."""
    far = (grid[:, None, None] - asides[:, 0]) ** 2 + (grid[:, None] - asides[:, 1]) ** 2
    near = np.exp(-far[:, :, None] / (2 * _WIDTHS[:, None] ** 2))  # x, y, width, episode
    chance = near[..., None] * _RATES
    each = np.where(success[:, None], chance, 1 - chance)
    whole = np.log(np.maximum(each, 1e-9)).sum(3)
    most = whole.max(3, keepdims=True)
    return np.asarray((most + np.log(np.exp(whole - most).mean(3, keepdims=True)))[..., 0])
