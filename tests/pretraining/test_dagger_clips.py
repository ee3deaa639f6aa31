"""Clips from where a system got to: they begin there, and its own world goes on as if nothing had been shown."""

from __future__ import annotations

import numpy as np

from soar.evaluation.envs import SimEvalEnv
from soar.pretraining.clips import ClipConfig
from soar.pretraining.dagger_clips import dagger_clips
from soar.sim.scenes.regimes import sample_scene

SEED = 3
SMALL = ClipConfig(resolution=32)


class Down:
    """A policy that presses its open hand down, wherever it is."""

    name = checkpoint_id = "down"

    def __init__(self) -> None:
        self.felt: list[np.ndarray] = []

    def act(self, observations, goals, rng, *, noise=0.0):
        self.felt += [o.state for o in observations]
        return np.array([[0, 0, -0.01, 0, 0, 0, 1]] * len(observations), np.float32)

    def reset(self) -> None:
        pass


class Copies:
    """Imagines that nothing happens."""

    name = "copies"

    def generate(self, observations, tasks, rng):
        return np.stack([o.image for o in observations])


def test_an_expert_goes_on_from_each_state_in_which_a_subgoal_was_asked_for():
    policy = Down()
    clips = dagger_clips(sample_scene("broad", SEED), SEED, policy, Copies(), SMALL)
    assert len(clips) == 5
    for clip, state in zip(clips, policy.felt[::20], strict=True):
        np.testing.assert_allclose(clip.states[0], state, atol=1e-5)
        assert clip.done[-1]
        assert not clip.done[0]
        assert clip.images.shape == (len(clip.points), 32, 32, 3)


def test_the_attempt_itself_is_as_it_would_have_been_alone():
    alone, shown = Down(), Down()
    dagger_clips(sample_scene("broad", SEED), SEED, shown, Copies(), SMALL)
    scene = sample_scene("broad", SEED)
    env = SimEvalEnv(scene)
    task = scene.tasks[int(np.random.default_rng(SEED).integers(len(scene.tasks)))]
    env.reset(task.instruction, SEED)
    for _ in range(100):
        seen = env.robot.observe()
        env.robot.execute(alone.act([seen], [""], np.random.default_rng(0))[0])
    env.close()
    np.testing.assert_array_equal(np.stack(alone.felt), np.stack(shown.felt))
