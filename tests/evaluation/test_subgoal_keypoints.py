"""Scores of predicted keypoints."""

from __future__ import annotations

import numpy as np
import pytest

from soar.evaluation.subgoals.futures import FUTURES, compare_futures, expert_hands
from soar.evaluation.subgoals.keypoints import score_keypoints
from soar.pretraining.keypoint_samples import Sample
from soar.registry import packaged
from soar.sim.scenes.catalog import load_scene
from soar.sim.world import World
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


def test_futures_that_an_expert_may_bring_about_are_near_one_and_as_various():
    """Experts go left or right: a sample between them is no future of any, though it is near their mean."""
    rng = np.random.default_rng(0)
    sides = np.where(np.arange(FUTURES) % 2, 0.3, -0.3)
    experts = np.zeros((5, FUTURES, 2))
    experts[..., 0] = sides + rng.normal(0, 0.01, (5, FUTURES))
    same = compare_futures(experts[:, ::-1], experts)
    assert (same.states, same.nearest, same.within) == (5, 0, 1)
    assert same.spread == pytest.approx(1)
    assert 0 < same.experts_nearest < 0.02
    between = compare_futures(np.zeros_like(experts), experts)
    assert (between.within, between.spread) == (0, 0)
    assert between.nearest == pytest.approx(0.3, abs=0.05)
    experts[0, 0] = np.nan
    assert compare_futures(experts, experts).states == 4


def test_experts_go_on_from_a_state_differently_and_leave_it_as_it_is():
    scene = load_scene("dev1")
    world = World(scene)
    try:
        world.reset(0, scene.tasks[0].goal)
        before = world.render()
        hands = expert_hands(world, scene.tasks[0], 10, seed=0)
        assert np.array_equal(world.render(), before)
    finally:
        world.close()
    assert hands.shape == (FUTURES, 2)
    assert len(np.unique(hands, axis=0)) == FUTURES
