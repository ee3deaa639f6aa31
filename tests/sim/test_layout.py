from dataclasses import replace

import mujoco
import numpy as np
import pytest

from soar.errors import ConfigError
from soar.sim import layout, predicates
from soar.sim.objects.kinds import kind_of
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Inside, Scene, SceneObject
from soar.sim.world import World


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_reset_with_a_goal_makes_it_feasible_and_unfulfilled(scene: Scene) -> None:
    world = World(scene, 64)
    for seed, task in enumerate(scene.tasks):
        world.reset(seed, task.goal)
        assert layout.is_feasible(world, task.goal)
        assert not world.fulfilled(task.goal)
        assert world.objects_lost() == ()


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_objects_stay_at_rest(scene: Scene) -> None:
    world = World(scene, 64)
    world.reset(3)
    before = {obj.name: world.object_pose(obj.name)[0] for obj in scene.objects}
    mujoco.mj_step(world.model, world.data, 1000)
    for name, position in before.items():
        assert world.object_pose(name)[0] == pytest.approx(position, abs=1e-3)
    assert np.abs(world.data.qvel).max() < 1e-2


@pytest.mark.parametrize("seed", range(4))
def test_objects_start_apart_and_some_start_inside(seed: int) -> None:
    world = World(SCENES["8"], 64)
    inside = 0
    for k in range(6):
        world.reset(100 * seed + k)
        for obj in SCENES["8"].objects[:-1]:
            if predicates.is_inside(world, obj.name, "blue plate"):
                inside += 1
                continue
            gap = world.object_pose(obj.name)[0][:2] - world.object_pose("blue plate")[0][:2]
            assert np.linalg.norm(gap) > kind_of(SCENES["8"].objects[-1]).radius
    assert 0 < inside < 18


@pytest.mark.parametrize("regime", ["bridge", "broad"])
def test_random_scenes_can_be_placed(regime: str) -> None:
    for seed in range(6):
        scene = sample_scene(regime, seed)
        world = World(scene, 64)
        world.reset(seed, scene.tasks[-1].goal)
        assert not world.fulfilled(scene.tasks[-1].goal)


def test_too_many_objects_raise_an_error() -> None:
    many = tuple(SceneObject(f"plate {i}", "plate", "white") for i in range(9))
    world = World(replace(SCENES["4"], objects=many, tasks=()), 64)
    with pytest.raises(ConfigError, match="don't fit on the table"):
        world.reset(0)


def test_an_object_to_take_out_starts_inside() -> None:
    world = World(SCENES["1"], 64)
    for seed in range(5):
        world.reset(seed, Inside("red fruit", "wooden bowl", value=False))
        assert predicates.is_inside(world, "red fruit", "wooden bowl")


def test_scattered_objects_lie_closer_together_than_in_a_new_layout() -> None:
    """As after a while of practice."""
    scene = SCENES["8"]
    world = World(scene, 64)
    items = [o.name for o in scene.objects if kind_of(o).role == "item"]
    nearest: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(12):
        for scattered in (False, True):
            world.reset(seed)
            if scattered:
                world.scatter(np.random.default_rng(seed))
            at = np.array([world.object_pose(n)[0] for n in items])
            assert np.isfinite(at).all()
            apart = np.linalg.norm(at[:, None] - at[None], axis=-1)[np.triu_indices(len(at), 1)]
            nearest[scattered].append(apart.min())
    world.close()
    assert np.median(nearest[True]) < np.median(nearest[False])
