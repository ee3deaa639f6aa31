import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import soar.sim.env  # noqa: F401  registers
from soar.errors import ConfigError
from soar.sim.scenes.paper_scenes import SCENES


@pytest.fixture
def scene1():
    env = gymnasium.make("soar/Scene1-v0", image_size=64)
    yield env
    env.close()


def test_the_ten_scenes_and_bridge_are_registered():
    names = [f"soar/Scene{i}-v0" for i in range(1, 11)] + ["soar/Bridge-v0"]
    assert set(names) <= set(gymnasium.registry)


@pytest.mark.parametrize("name", ["soar/Scene1-v0", "soar/Bridge-v0"])
def test_gymnasiums_checker_finds_nothing(name):
    env = gymnasium.make(name, image_size=64, render_mode="rgb_array")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=False)
    env.close()
    assert [str(w.message) for w in caught if "WARN" in str(w.message)] == []


def test_episode_is_determined_by_its_seed(scene1):
    def episode() -> tuple[str, np.ndarray]:
        observation, info = scene1.reset(seed=5)
        images = [observation["image"]]
        for _ in range(3):
            action = np.array([0.3, 0.2, -0.5, 0, 0, 0.1, 1], np.float32)
            images.append(scene1.step(action)[0]["image"])
        return info["instruction"], np.stack(images)

    first, again = episode(), episode()
    assert first[0] == again[0]
    assert np.array_equal(first[1], again[1])


def test_reward_is_the_tasks_predicate(scene1):
    task = SCENES["1"].tasks[0]
    _, info = scene1.reset(seed=0, options={"task": task.instruction})
    assert info["instruction"] == task.instruction
    assert info["success"] is False
    world = scene1.unwrapped._world
    before = world.fulfilled(task.goal)
    _, reward, terminated, truncated, info = scene1.step(np.zeros(7, np.float32))
    assert (reward, terminated, truncated) == (float(before), before, False)
    assert info["lost"] == ()


def test_unknown_task_names_the_valid_ones(scene1):
    with pytest.raises(ConfigError, match="no task 'fly'; there is: 'put"):
        scene1.reset(seed=0, options={"task": "fly"})
