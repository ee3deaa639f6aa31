import numpy as np
import pytest

from soar.sim.expert.expert import Expert
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.spec import Inside
from soar.sim.world import World

MAX_STEPS = 80


def _run(world: World, task: int, seed: int) -> tuple[bool, int]:
    goal, rng = world.scene.tasks[task].goal, np.random.default_rng(seed)
    expert, steps = Expert(world, goal, rng), 0
    while not expert.done and steps < MAX_STEPS:
        world.step(expert.act())
        steps += 1
    return world.fulfilled(goal), steps


@pytest.mark.parametrize("scene", ["1", "5", "7", "10", "dev2"])
def test_expert_fulfills_nearly_every_task(scene):
    """A part of benchmarks/expert.py: each task from two seeds, with one failure allowed per scene."""
    world = World(SCENES[scene], image_size=32)
    results = []
    for task in range(len(world.scene.tasks)):
        for seed in (0, 1):
            world.reset(seed, world.scene.tasks[task].goal)
            results.append(_run(world, task, seed))
    assert sum(not success for success, _ in results) <= 1
    assert np.median([steps for success, steps in results if success]) <= 45


def test_expert_starts_from_any_state_of_the_arm():
    world, rng = World(SCENES["1"], image_size=32), np.random.default_rng(0)
    wins = 0
    for seed in range(4):
        world.reset(seed, world.scene.tasks[0].goal)
        for _ in range(6):
            wander = rng.normal(0, [0.03, 0.03, 0.03, 0.1, 0.1, 0.3, 0]).astype(np.float32)
            wander[6] = rng.integers(0, 2)
            world.step(wander)
        wins += _run(world, 0, seed)[0]
    assert wins >= 3


def test_expert_releases_and_rises():
    world = World(SCENES["1"], image_size=32)
    world.reset(0, world.scene.tasks[0].goal)
    assert _run(world, 0, 0)[0]
    assert world.state()[6] > 0.9
    assert world.state()[2] > 0.11


def test_expert_is_deterministic_for_the_same_rng():
    world, states = World(SCENES["2"], image_size=32), []
    for _ in range(2):
        world.reset(2, world.scene.tasks[0].goal)
        _run(world, 0, 7)
        states.append(world.state())
    assert np.array_equal(states[0], states[1])


@pytest.mark.parametrize("scene", ["2", "5", "10"])
@pytest.mark.parametrize("task", [0, 1])
def test_expert_that_takes_over_continues_with_the_held_object(scene, task):
    """A new expert takes over every seven steps, as when experts provide a policy's subgoals."""
    world = World(SCENES[scene], image_size=32)
    goal = world.scene.tasks[task].goal
    world.reset(0, goal)
    for step in range(60):
        if step % 7 == 0:
            expert = Expert(world, goal, np.random.default_rng(step), noise=0.0)
        world.step(expert.act())
        if world.fulfilled(goal):
            return
    raise AssertionError("not done: each expert released the object that the one before it held")


def test_a_predictable_expert_takes_items_to_the_same_place_whatever_its_random_numbers():
    """Two experts that take over from the same state, and three that take over from each other on the way."""
    world, goal = _world_with_item_to_take_out()
    _act(world, goal, seed=0, steps=_steps_until_lifted(world, goal))
    lifted, places = world.snapshot(), []
    for seeds in ((1,), (2,), (3, 4, 5)):
        world.restore(lifted)
        for seed in seeds[:-1]:
            _act(world, goal, seed, steps=4)
        _act(world, goal, seeds[-1], steps=40)
        assert world.fulfilled(goal)
        places.append(world.object_pose(goal.object)[0][:2])
    assert np.ptp(places, axis=0).max() < 0.015


def test_an_expert_takes_items_to_random_places():
    world, goal = _world_with_item_to_take_out()
    places = []
    for seed in range(4):
        world.reset(0, goal)
        _act(world, goal, seed, steps=60, predictable=False)
        places.append(world.object_pose(goal.object)[0][:2])
    assert np.ptp(places, axis=0).max() > 0.03


def _world_with_item_to_take_out() -> tuple[World, Inside]:
    world = World(SCENES["dev2"], image_size=32)
    goals = (t.goal for t in world.scene.tasks)
    goal = next(g for g in goals if isinstance(g, Inside) and not g.value)
    world.reset(0, goal)
    return world, goal


def _act(world: World, goal: Inside, seed: int, steps: int, predictable: bool = True) -> None:
    expert = Expert(world, goal, np.random.default_rng(seed), noise=0.0, predictable=predictable)
    for _ in range(steps):
        if expert.done:
            return
        world.step(expert.act())


def _steps_until_lifted(world: World, goal: Inside) -> int:
    """Return after how many steps an expert has lifted the item; the world stays as it is."""
    before, expert = world.snapshot(), Expert(world, goal, np.random.default_rng(0), noise=0.0)
    steps, here = 0, world.object_pose(goal.object)[0][2]
    while world.object_pose(goal.object)[0][2] < here + 0.02:
        world.step(expert.act())
        steps += 1
    world.restore(before)
    return steps
