"""DAgger clips start from the system's states, and its own world continues undisturbed."""

from __future__ import annotations

import numpy as np
from tests.pretraining.models import Copies, Down

from soar.evaluation.envs import SimEvalEnv
from soar.pretraining.clips import ClipConfig
from soar.pretraining.dagger_clips import dagger_clips
from soar.sim.scenes.regimes import sample_scene

SEED = 3
SMALL = ClipConfig(resolution=32)


def test_expert_continues_from_each_state_with_a_subgoal_request():
    policy = Down()
    clips = dagger_clips(sample_scene("broad", SEED), SEED, policy, Copies(), SMALL)
    assert len(clips) == 5
    for clip, state in zip(clips, policy.states[::20], strict=True):
        np.testing.assert_allclose(clip.states[0], state, atol=1e-5)
        assert clip.done[-1]
        assert not clip.done[0]
        assert clip.images.shape == (len(clip.points), 32, 32, 3)


def test_attempt_is_the_same_without_recording():
    alone, recorded = Down(), Down()
    dagger_clips(sample_scene("broad", SEED), SEED, recorded, Copies(), SMALL)
    scene = sample_scene("broad", SEED)
    env = SimEvalEnv(scene)
    task = scene.tasks[int(np.random.default_rng(SEED).integers(len(scene.tasks)))]
    env.reset(task.instruction, SEED)
    for _ in range(100):
        observation = env.robot.observe()
        env.robot.execute(alone.act([observation], [""], np.random.default_rng(0))[0])
    env.close()
    np.testing.assert_array_equal(np.stack(alone.states), np.stack(recorded.states))
