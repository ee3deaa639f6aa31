import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from soar.errors import ConfigError
from soar.sim.model import compile_scene
from soar.sim.objects.kinds import kind_of
from soar.sim.scenes.catalog import DEVELOPMENT, UNTOUCHED, load_scene
from soar.sim.scenes.paper_scenes import NOMINAL, SCENES
from soar.sim.scenes.regimes import (
    BRIDGE_TABLES,
    BROAD_COLORS,
    BROAD_TABLES,
    RANDOM_REGIMES,
    UNSEEN,
    UNSEEN_DEV,
    sample_scene,
)
from soar.sim.scenes.spec import ClothFolded, DrawerOpen, Inside, OnSide, Scene
from soar.sim.world import World

MANY = 400
BRIDGE = [sample_scene("bridge", seed) for seed in range(MANY)]
BROAD = [sample_scene("broad", seed) for seed in range(MANY)]
SOAR = [s for s in SCENES.values() if s.regime == "soar"]
DEV = [s for s in SCENES.values() if s.regime == "dev"]
TABLE_5 = {
    "1": (
        "put the green block in the wooden bowl",
        "remove the green block from inside the wooden bowl and put it on the table",
        "put the red fruit in the wooden bowl",
        "remove the red fruit from inside the wooden bowl and put it on the table",
    ),
    "2": (
        "put the purple eggplant in the brown bowl",
        "remove the purple eggplant from inside the brown bowl and put it on the table",
    ),
    "3": (
        "move the green marker to the left side",
        "move the green marker to the right side",
        "put the blue block in the wooden bowl",
        "remove the blue block from inside the wooden bowl and put it on the table",
        "put the lemon in the wooden bowl",
        "remove the lemon from inside the wooden bowl and put it on the table",
    ),
    "4": (
        "put the red object on the green plate",
        "take the red object out of the green plate and put it on the table",
        "put the carrot on the green plate",
        "take the carrot out of the green plate and put it on the table",
    ),
    "5": ("open the drawer", "close the drawer"),
    "6": (
        "put the mushroom in the blue bowl",
        "remove the mushroom from the blue bowl and put it on the table",
    ),
    "7": (
        "put the mushroom in the metal pot",
        "remove the mushroom from the metal pot and put it on the table",
        "move the green spoon to the left",
        "move the green spoon to the right",
    ),
    "8": (
        "put the carrot on the blue plate",
        "remove the carrot from the blue plate and put it on the table",
        "put the purple eggplant on the blue plate",
        "remove the purple eggplant from the blue plate and put it on the table",
        "put the lemon on the blue plate",
        "remove the lemon from the blue plate and put it on the table",
    ),
    "9": (
        "put the green veggie on the blue plate",
        "remove the green veggie from the blue plate and put it on the table",
        "put the pink spoon on the blue plate",
        "remove the pink spoon from the blue plate and put it on the table",
    ),
    "10": ("fold the cloth from right to left", "unfold the cloth from left to right"),
}


def _pairs(scenes: list[Scene]) -> set[tuple[str, str]]:
    return {(o.kind, o.color) for s in scenes for o in s.objects}


def _offset(scene: Scene) -> np.ndarray:
    return np.abs(np.subtract(scene.camera.position, NOMINAL.position))


def test_instructions_of_the_ten_scenes_are_those_of_table_5() -> None:
    assert {s.name: tuple(t.instruction for t in s.tasks) for s in SOAR} == TABLE_5


def test_soar_has_19_objects_with_14_unseen_and_5_tables_with_3_unseen() -> None:
    pairs, tables = _pairs(SOAR), {s.table.name for s in SOAR}
    assert len(pairs) == 19
    assert len(UNSEEN.pairs) == 14
    assert pairs >= UNSEEN.pairs
    assert len(tables) == 5
    assert tables - UNSEEN.tables <= set(BRIDGE_TABLES)
    assert len(tables & UNSEEN.tables) == 3


def test_bridge_has_no_unseen_object_or_table() -> None:
    pairs, tables = _pairs(BRIDGE), {s.table.name for s in BRIDGE}
    assert not pairs & (UNSEEN.pairs | UNSEEN_DEV.pairs)
    assert not tables & (UNSEEN.tables | UNSEEN_DEV.tables)
    assert not any(s.barriers for s in BRIDGE)
    assert _pairs(SOAR) - pairs == UNSEEN.pairs


@pytest.mark.parametrize("name", SCENES)
def test_cameras_of_evaluation_scenes_are_outside_bridges_range(name: str) -> None:
    scene, bridge = SCENES[name], RANDOM_REGIMES["bridge"].camera
    jitter = scene.camera.jitter_m + NOMINAL.jitter_m
    assert (_offset(scene) > bridge.position_m + jitter).any()


def test_dev_and_soar_share_no_unseen_object_or_table() -> None:
    assert not _pairs(DEV) & _pairs(SOAR)
    assert not {s.table.name for s in DEV} & {s.table.name for s in SOAR}
    assert not UNSEEN.pairs & UNSEEN_DEV.pairs


def test_no_scene_of_soar_or_dev_is_in_broad() -> None:
    tables = {s.table.name for s in DEV} | UNSEEN.tables
    assert not tables & set(BROAD_TABLES)
    known = {frozenset(_pairs([s])): s for s in SCENES.values()}
    for scene in BROAD:
        twin = known.get(frozenset(_pairs([scene])))
        assert twin is None or twin.table != scene.table


def test_broad_covers_every_kind_of_goal_and_every_unseen_object() -> None:
    goals = Counter(type(t.goal) for s in BROAD for t in s.tasks)
    assert min(goals[g] for g in (Inside, OnSide, DrawerOpen, ClothFolded)) > MANY / 8
    assert all(color in BROAD_COLORS[kind] for kind, color in UNSEEN.pairs)
    assert {kind for kind, _ in _pairs(BROAD)} == set(BROAD_COLORS)
    assert 0.4 < np.mean([s.barriers for s in BROAD]) < 0.6


@pytest.mark.parametrize("scene", [*BRIDGE[:5], *BROAD[:5]], ids=lambda s: s.name)
def test_random_scene_is_determined_by_its_seed(scene: Scene) -> None:
    assert load_scene(scene.name) == scene


def test_random_scene_has_unique_names_and_tasks() -> None:
    for scene in BRIDGE + BROAD:
        assert len({o.name for o in scene.objects}) == len(scene.objects)
        assert scene.tasks


def test_goals_name_objects_of_the_scene() -> None:
    for scene in [*SCENES.values(), *BROAD]:
        roles = {o.name: kind_of(o).role for o in scene.objects}
        for task in scene.tasks:
            goal = vars(task.goal)
            assert all(
                goal[k] in roles for k in ("object", "container", "drawer", "cloth") if k in goal
            )
            assert goal.get("container") is None or roles[goal["container"]] == "container"


@pytest.mark.parametrize("name", ["11", "dev1+²", "bridge-²"])
def test_unknown_scene_names_the_valid_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"no scene '{re.escape(name)}'; valid: 1 to 10, dev1"):
        load_scene(name)


GOOD = """
name: kitchen
table: oak
barriers: true
camera: {position: [0.5, 0.0, 0.7]}
objects:
  - {name: red mug, kind: cup, color: red}
  - {name: white plate, kind: plate, color: white, scale: 1.1}
tasks:
  - {instruction: put the red mug on the white plate, inside: [red mug, white plate]}
  - {instruction: move the red mug to the left, left: red mug}
"""


def test_scene_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "kitchen.yaml"
    file.write_text(GOOD)
    scene = load_scene(file)
    assert scene.tasks[0].goal == Inside("red mug", "white plate")
    assert scene.tasks[1].goal == OnSide("red mug", "left")
    assert scene.camera.position == (0.5, 0.0, 0.7)
    assert scene.camera.look_at == NOMINAL.look_at
    assert scene.barriers


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("table: oak", "table: glass", "no table 'glass'; valid: .*oak"),
        ("table: oak", "", "table is missing"),
        ("kind: cup", "kind: teapot", "no kind of object 'teapot'; valid: .*cup"),
        ("color: white", "color: mauve", "no color 'mauve'; valid"),
        ("barriers: true", "walls: true", "unknown key 'walls'; valid keys are .*barriers"),
        (
            "scale: 1.1",
            "scale: big",
            r"objects.1.scale: 'big' is not valid; valid: a number from 0.5 to 1.5",
        ),
        ("left: red mug", "left: white plate", "'left' needs item .*white plate"),
        (
            "left: red mug",
            "under: red mug",
            "tasks.1: unknown key 'under'; valid keys are instruction, inside",
        ),
        ("left: red mug", "", "has 0 goals; valid: one of inside"),
        ("name: white plate", "name: red mug", "two objects have the same name"),
        ("[0.5, 0.0, 0.7]", "[0.5, 0.7]", r"camera.position.2 is missing"),
        ("objects:", "objects: [", "kitchen.yaml: while parsing"),
        ("{name: red mug", "{name: elbow", "repeated name 'elbow' in body; valid: names other than"),
        ("{name: red mug", "{name: world", "repeated name 'world' in body; valid: names other than"),
        ("{name: red mug", '{name: ""', "an object has no name"),
        ("objects:",
            "objects:\n  - {name: c, kind: cloth, color: red}\n  - {name: c strip 1, kind: block, color: red}",
            "repeated name 'c strip 1'"),
        ("objects:",
            "objects:\n  - {name: c, kind: cloth, color: red}\n  - {name: c hinge 1, kind: block, color: red}",
            "repeated name 'c hinge 1'"),
        ("move the red mug to the left,", "put the red mug on the white plate,",
            "two tasks have the instruction 'put the red mug"),
        ("left: red mug", "stacked: [red mug, red mug]", "'stacked' needs different item and item"),
        ("[0.5, 0.0, 0.7]}", "[0.5, 0.0, 0.7], up: [0, 0, 0]}", "with .* up; valid: another point"),
        ("[0.5, 0.0, 0.7]}", "[0.285, 0.035, 0.7], up: [0, 0, 1]}", "with .* up; valid: another point"),
        ("[0.5, 0.0, 0.7]}", "[0.285, 0.035, 0.0]}", "can't look at"),
    ],
)  # fmt: skip
def test_invalid_scene_file_names_the_error(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = tmp_path / "kitchen.yaml"
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as caught:
        load_scene(file)
    assert "\n" not in str(caught.value)


def test_missing_scene_file_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml is missing"):
        load_scene(tmp_path / "nowhere.yaml")


def test_example_scene_loads() -> None:
    scene = load_scene(Path(__file__).parents[2] / "examples" / "kitchen.yaml")
    assert [kind_of(o).role for o in scene.objects] == ["item", "item", "container"]
    assert len(scene.tasks) == 4


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[2] / "benchmarks").glob("*.yaml")), ids=lambda f: f.stem
)
def test_scene_files_of_the_benchmarks_have_layouts_for_their_tasks(file: Path) -> None:
    scene = load_scene(file)
    assert scene.name == file.stem
    world = World(scene, 64)
    try:
        for task in scene.tasks:
            world.reset(0, task.goal)
            assert not world.fulfilled(task.goal)
    finally:
        world.close()


def test_development_scenes_are_known_by_name_and_show_no_scene_of_the_paper():
    scenes = [load_scene(name) for name in DEVELOPMENT + UNTOUCHED]
    assert [s.name for s in scenes] == [f"dev{i}" for i in range(1, 13)]
    assert {s.regime for s in scenes} == {"dev"}
    paper = [s for s in SCENES.values() if s.regime == "soar"]
    assert {s.table for s in scenes}.isdisjoint(s.table for s in paper)
    assert {s.camera for s in scenes}.isdisjoint(s.camera for s in paper)
    for scene in scenes:
        compile_scene(scene)
