import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import soar.sim.env  # noqa: F401  registers
from soar.errors import ConfigError
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.world import World


@pytest.fixture
def scene1():
    env = gymnasium.make("soar/Scene1-v0", image_size=64)
    yield env
    env.close()


def test_all_named_scenes_are_registered():
    names = [f"soar/Scene{i}-v0" for i in range(1, 11)] + ["soar/Bridge-v0"]
    names += [f"soar/Dev{i}-v0" for i in range(1, 13)]
    assert set(names) <= set(gymnasium.registry)


def test_a_name_with_its_module_needs_no_import():
    code = (
        "import gymnasium\n"
        "env = gymnasium.make('soar.sim.env:soar/Dev1-v0', image_size=32)\n"
        "print(env.reset(seed=0)[1]['success'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_vector_of_environments_has_success_of_each():
    envs = gymnasium.make_vec("soar/Dev1-v0", num_envs=2, image_size=32)
    observation, _ = envs.reset(seed=1)
    assert observation["image"].shape == (2, 32, 32, 3)
    _, _, _, _, info = envs.step(envs.action_space.sample() * 0)
    assert info["success"].tolist() == [False, False]
    envs.close()


def test_without_termination_a_fulfilled_task_goes_on(monkeypatch):
    env = gymnasium.make("soar/Dev1-v0", image_size=32, terminate=False)
    env.reset(seed=0)
    monkeypatch.setattr(World, "fulfilled", lambda world, goal: True)
    _, reward, terminated, _, info = env.step(np.zeros(7, np.float32))
    assert (reward, terminated, info["success"]) == (1.0, False, True)
    env.close()


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
