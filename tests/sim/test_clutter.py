import numpy as np
import pytest

from soar.errors import ConfigError
from soar.rollout.station_config import sim_stations
from soar.sim.objects.kinds import kind_of
from soar.sim.scenes.catalog import load_scene
from soar.sim.world import World

PAPER = tuple(str(i) for i in range(1, 11))


@pytest.mark.parametrize("name", [*PAPER, "dev1", "dev5", "dev12"])
def test_six_objects_that_no_task_names_are_added_in_a_fixed_order(name):
    plain, some, many = load_scene(name), load_scene(f"{name}+3"), load_scene(f"{name}+6")
    assert (some.name, many.name) == (f"{name}+3", f"{name}+6")
    assert many.tasks == plain.tasks
    assert many.objects[: len(some.objects)] == some.objects
    added = many.objects[len(plain.objects) :]
    assert len(added) == 6
    assert all(kind_of(o).role == "item" for o in added)
    words = {o.name for o in added}
    assert not any(w in t.instruction for w in words for t in plain.tasks)


@pytest.mark.parametrize("name", [*PAPER, "dev1"])
def test_no_distracting_object_is_of_a_kind_or_vague_color_of_the_scene(name):
    plain, many = load_scene(name), load_scene(f"{name}+6")
    added = many.objects[len(plain.objects) :]
    kinds = [o.kind for o in many.objects]
    assert all(kinds.count(o.kind) == 1 for o in added)
    if name in ("4", "9"):  # "red object", "green veggie"
        assert not {o.color for o in added} & {"4": {"red"}, "9": {"green"}}[name]


@pytest.mark.parametrize("name", ["3", "5", "8", "10"])
def test_the_fullest_tables_have_room_for_six_and_their_goals_stay_feasible(name):
    scene = load_scene(f"{name}+6")
    world = World(scene, 32)
    for seed, task in enumerate(scene.tasks[:2]):
        world.reset(seed, goal=task.goal)
        assert not world.fulfilled(task.goal)
        assert not world.objects_lost()
    first = world.render()
    world.reset(seed, goal=task.goal)
    assert np.array_equal(world.render(), first)
    world.close()


def test_no_distracting_object_has_the_name_of_a_users_object_of_another_kind(tmp_path):
    file = tmp_path / "kitchen.yaml"
    file.write_text(
        "name: kitchen\ntable: oak\nobjects:\n"
        "  - {name: lemon, kind: ball, color: yellow}\n  - {name: carrot, kind: brush, color: orange}\n"
        "  - {name: mushroom, kind: can, color: tan}\n"
        "tasks:\n  - {instruction: move the lemon to the left, left: lemon}\n"
    )
    names = [o.name for o in load_scene(f"{file}+6").objects]
    assert len(set(names)) == len(names) == 9


@pytest.mark.parametrize("name", ["1+0", "1+7", "nowhere+2", "1+x"])
def test_another_number_or_scene_is_refused(name):
    with pytest.raises(ConfigError, match="valid: 1 to"):
        load_scene(name)


def test_a_station_may_stand_in_a_cluttered_scene():
    [station] = sim_stations("1+6", 1)
    assert station.name == "scene1+6-arm1"
    assert station.scene_info.name == "1+6"
