"""Scores of predicted keypoints."""

from __future__ import annotations

import numpy as np
import pytest

from soar.evaluation.subgoals.keypoints import score_keypoints
from soar.pretraining.keypoint_samples import Sample
from soar.registry import packaged
from soar.subgoals.compact.generator import CompactSubgoalGenerator
from soar.subgoals.compact.observation_encoder import GRIPPER, OBJECT
from soar.training.keypoint_samples import MAX_STEPS_AHEAD, MIN_STEPS_AHEAD


class Oracle(CompactSubgoalGenerator):
    """Knows that every gripper moves by .1 to the right, and says .07; is wrong by .3 about the first of 64."""

    def sample_keypoints(self, observations, tasks, rng):
        points = np.zeros((len(observations), 6, 2), np.float32)
        points[:, 0, 0] = 0.07
        points[0, 0, 0] = 0.4
        return points


def test_scores_are_of_the_draw_against_the_experts_keypoints():
    points = np.zeros((7, 2), np.float32)
    later = np.zeros((MAX_STEPS_AHEAD - MIN_STEPS_AHEAD + 1, 7, 2), np.float32)
    later[:, GRIPPER, 0] = 0.1
    later[:, OBJECT, 1] = 0.05
    image, state = np.zeros((8, 8, 3), np.uint8), np.zeros(7, np.float32)
    text = "put the red block in the bowl"
    far = points.copy()
    far[OBJECT] = 0.9
    samples = [Sample(image, p, later, state, text) for p in [points] * 60 + [far] * 40]
    score = score_keypoints(Oracle.load(packaged("subgoals")), samples)
    assert score.states == 100
    assert score.gripper == pytest.approx(0.03, abs=1e-6)
    assert score.gripper_missed == pytest.approx(0.02)
    assert score.object == pytest.approx(0.05, abs=1e-6)
    assert score.step_ratio == pytest.approx(0.7, abs=1e-6)
