"""Where a station's camera sees its arm, learned from what the arm felt while it was seen.

No calibration board and no camera model: each part of the arm is seen at a smooth function of the arm's state, and a
network that reads these parts in images, each a little wrong, is right on average.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from soar.errors import ConfigError

_ROUNDS, _EXACT, _RIDGE = 20, 0.01, 1e-2
_FEWEST = 200
"""Looks that an arm's view is learned from."""
_STEP_M = 0.005
"""Between the hands whose places tell how the view changes."""


class ArmProjection:
    """Arm states to places in the image, for any parts of the arm."""

    def __init__(self, states: Float[np.ndarray, "n 7"], seen: Float[np.ndarray, "n p 2"]) -> None:
        """Fit a quadratic of the state to where each of p parts was read, x and y in [-1, 1].

        Readings that are far off hardly count (least absolute deviations, by reweighting).

        Raises:
            ConfigError: there are too few looks.
        """
        if len(states) < _FEWEST:
            raise ConfigError(f"{len(states)} looks at the arm; valid: at least {_FEWEST}")
        terms = _terms(states)
        self._weights = np.stack([_robust(terms, seen[:, p]) for p in range(seen.shape[1])], 1)

    def __call__(self, states: Float[np.ndarray, "n 7"]) -> Float64[np.ndarray, "n p 2"]:
        """Where the camera sees the parts."""
        return np.asarray(np.einsum("nt,tpc->npc", _terms(states), self._weights))

    def reach(
        self,
        place: Float[np.ndarray, "2"],
        pose: Float[np.ndarray, "7"],
        parts: slice,
    ) -> Float64[np.ndarray, "2"]:
        """x and y [m] of the hand at which the middle of some parts is seen at a place; the rest of `pose` stays."""
        state = np.array(pose, np.float64)
        for _ in range(8):
            probes = np.tile(state, (3, 1))
            probes[1, 0] += _STEP_M
            probes[2, 1] += _STEP_M
            here, along, across = self(probes)[:, parts].mean(1)
            slope = np.stack([along - here, across - here], 1) / _STEP_M
            state[:2] += np.clip(np.linalg.solve(slope, place - here), -0.1, 0.1)
        return state[:2]


def _robust(
    terms: Float64[np.ndarray, "n t"], seen: Float[np.ndarray, "n 2"]
) -> Float64[np.ndarray, "t 2"]:
    weights, fit = np.ones(len(terms)), np.zeros((terms.shape[1], 2))
    for _ in range(_ROUNDS):
        scaled = terms * weights[:, None]
        fit = np.linalg.solve(scaled.T @ terms + _RIDGE * np.eye(terms.shape[1]), scaled.T @ seen)
        weights = 1 / np.maximum(np.linalg.norm(terms @ fit - seen, axis=1), _EXACT)
    return fit


def _terms(states: Float[np.ndarray, "n 7"]) -> Float64[np.ndarray, "n t"]:
    """A state's position, sines and cosines of its angles, opening, and all products of two of these."""
    s = np.asarray(states, np.float64)
    first = np.concatenate([s[:, :3], np.sin(s[:, 3:6]), np.cos(s[:, 3:6]), s[:, 6:7]], 1)
    i, j = np.triu_indices(first.shape[1])
    return np.concatenate([np.ones((len(s), 1)), first, first[:, i] * first[:, j]], 1)
