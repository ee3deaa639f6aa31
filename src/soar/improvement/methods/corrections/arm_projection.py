"""Projection of the arm into a station's camera image, learned from the arm's own states.

It needs no calibration board and no camera model: the image position of each part of the arm is a smooth
function of the arm's state, and a network's readings of these parts, each slightly wrong, are right on average.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from soar.errors import ConfigError
from soar.improvement.methods.corrections.config import CorrectionsConfig


class ArmProjection:
    """Map from arm states to image positions of parts of the arm."""

    def __init__(
        self,
        states: Float[np.ndarray, "n 7"],
        readings: Float[np.ndarray, "n p 2"],
        config: CorrectionsConfig,
    ) -> None:
        """Fit a quadratic function of the state to the image positions of p parts, x and y in [-1, 1].

        Outliers have little weight (least absolute deviations by reweighting).

        Raises:
            ConfigError: there are too few readings.
        """
        if len(states) < config.min_projection_frames:
            raise ConfigError(
                f"{len(states)} images of the arm; valid: at least {config.min_projection_frames}"
            )
        self._step_m = config.projection_step_m
        terms = _terms(states)
        parts = range(readings.shape[1])
        self._weights = np.stack([_robust_fit(terms, readings[:, p], config) for p in parts], 1)

    def __call__(self, states: Float[np.ndarray, "n 7"]) -> Float64[np.ndarray, "n p 2"]:
        """Return the image positions of the parts."""
        return np.asarray(np.einsum("nt,tpc->npc", _terms(states), self._weights))

    def solve_position(
        self,
        target: Float[np.ndarray, "2"],
        pose: Float[np.ndarray, "7"],
        parts: slice,
    ) -> Float64[np.ndarray, "2"]:
        """Return the gripper's x and y [m] at which the mean of some parts appears at an image position.

        The rest of `pose` stays fixed.
        """
        state = np.array(pose, np.float64)
        for _ in range(8):
            probes = np.tile(state, (3, 1))
            probes[1, 0] += self._step_m
            probes[2, 1] += self._step_m
            here, along, across = self(probes)[:, parts].mean(1)
            slope = np.stack([along - here, across - here], 1) / self._step_m
            state[:2] += np.clip(np.linalg.solve(slope, target - here), -0.1, 0.1)
        return state[:2]


def _robust_fit(
    terms: Float64[np.ndarray, "n t"], readings: Float[np.ndarray, "n 2"], config: CorrectionsConfig
) -> Float64[np.ndarray, "t 2"]:
    weights, fit = np.ones(len(terms)), np.zeros((terms.shape[1], 2))
    ridge = config.projection_ridge * np.eye(terms.shape[1])
    for _ in range(config.projection_iterations):
        scaled = terms * weights[:, None]
        fit = np.linalg.solve(scaled.T @ terms + ridge, scaled.T @ readings)
        errors = np.linalg.norm(terms @ fit - readings, axis=1)
        weights = 1 / np.maximum(errors, config.projection_min_error)
    return fit


def _terms(states: Float[np.ndarray, "n 7"]) -> Float64[np.ndarray, "n t"]:
    """Return position, sines and cosines of the angles, opening, and all products of two of these."""
    s = np.asarray(states, np.float64)
    first = np.concatenate([s[:, :3], np.sin(s[:, 3:6]), np.cos(s[:, 3:6]), s[:, 6:7]], 1)
    i, j = np.triu_indices(first.shape[1])
    return np.concatenate([np.ones((len(s), 1)), first, first[:, i] * first[:, j]], 1)
