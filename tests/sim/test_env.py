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


def test_all_ten_scenes_and_bridge_are_registered():
    names = [f"soar/Scene{i}-v0" for i in range(1, 11)] + ["soar/Bridge-v0"]
    assert set(names) <= set(gymnasium.registry)


@pytest.mark.parametrize("name", ["soar/Scene1-v0", "soar/Bridge-v0"])
def test_gymnasiums_checker_has_nothing_to_say(name):
    env = gymnasium.make(name, image_size=64, render_mode="rgb_array")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=False)
    env.close()
    assert [str(w.message) for w in said if "WARN" in str(w.message)] == []


def test_the_same_seed_is_the_same_episode(scene1):
    def story() -> tuple[str, np.ndarray]:
        seen, info = scene1.reset(seed=5)
        pictures = [seen["image"]]
        for _ in range(3):
            action = np.array([0.3, 0.2, -0.5, 0, 0, 0.1, 1], np.float32)
            pictures.append(scene1.step(action)[0]["image"])
        return info["instruction"], np.stack(pictures)

    first, again = story(), story()
    assert first[0] == again[0]
    assert np.array_equal(first[1], again[1])


def test_the_reward_is_the_predicate_of_the_task(scene1):
    task = SCENES["1"].tasks[0]
    _, info = scene1.reset(seed=0, options={"task": task.instruction})
    assert info["instruction"] == task.instruction
    assert info["success"] is False
    world = scene1.unwrapped._world
    before = world.fulfilled(task.goal)
    _, reward, ended, cut, info = scene1.step(np.zeros(7, np.float32))
    assert (reward, ended, cut) == (float(before), before, False)
    assert info["lost"] == ()


def test_a_task_the_scene_does_not_have_is_named(scene1):
    with pytest.raises(ConfigError, match="no task 'fly'; there is: 'put"):
        scene1.reset(seed=0, options={"task": "fly"})
