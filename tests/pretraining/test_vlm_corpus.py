"""The VLM's corpus: true answers, varied names, determinism, resuming."""

import itertools
from dataclasses import replace
from itertools import islice

import mujoco
import numpy as np
import pytest

from soar.errors import ConfigError
from soar.pretraining.labeled_images import LabeledImageConfig, label_scene
from soar.pretraining.object_names import absent_name, sample_name
from soar.pretraining.scene_facts import Fact, facts_of, sample_facts, sample_question
from soar.pretraining.vlm_corpus import make_vlm_corpus, scene_images
from soar.sim.layout import NoRoom
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Inside, SceneObject
from soar.sim.world import World
from soar.tasks.grammar import task_from_instruction
from soar.tasks.questions import QUESTION_KINDS, parse_question
from soar.training.vlm_corpus import VLMCorpus

SMALL = LabeledImageConfig(resolution=32, questions=4, images=8, activities=1, stops=2)


@pytest.fixture(scope="module")
def world():
    world = World(SCENES["8"], 64)
    world.reset(3)
    yield world
    world.close()


def test_facts_agree_with_the_simulator(world):
    found = {(f.kind, f.object, f.container): f.true for f in facts_of(world)}
    for thing in ("carrot", "lemon", "purple eggplant"):
        inside = world.fulfilled(Inside(thing, "blue plate"))
        assert found["in", thing, "blue plate"] == inside
        assert found["present", thing, ""]
        assert not (found["left", thing, ""] and found["right", thing, ""])


def test_an_object_is_present_while_it_is_in_view(world):
    before = world.snapshot()
    placed = {
        "lemon": (0.1, 0.0, 0.02),
        "carrot": (2.0, 0.0, 0.02),
        "purple eggplant": (0.3, 0.0, -0.5),
    }
    for name, position in placed.items():
        world.data.joint(name).qpos[:3] = position
    mujoco.mj_forward(world.model, world.data)
    present = {f.object: f.true for f in facts_of(world) if f.kind == "present"}
    world.restore(before)
    assert present == {"lemon": True, "carrot": False, "purple eggplant": False, "blue plate": True}
    """Out of reach, but seen; outside the image; fallen off the table."""


def test_scattered_states_are_part_of_the_corpus():
    plain, scattered = (
        [x.image for x in islice(label_scene(SCENES["8"], 5, replace(SMALL, scattered=s)), 2)]
        for s in (0.0, 1.0)
    )
    assert not np.array_equal(plain[0], scattered[0])


def test_a_task_s_question_and_the_fact_of_its_goal_are_the_same_question(world):
    """The compact VLM is trained on the questions that tasks ask."""
    rng = np.random.default_rng(0)
    asked = {task_from_instruction(t.instruction).question.text for t in world.scene.tasks}
    learned = {sample_question(f, world.scene, rng) for _ in range(40) for f in facts_of(world)}
    assert asked <= learned


def test_sampled_facts_are_balanced_and_include_absent_objects(world):
    rng = np.random.default_rng(0)
    found = [Fact("in", "lemon", "blue plate", True), Fact("in", "carrot", "blue plate", False)]
    drawn = sample_facts(found, 2000, rng)
    about = [f for f in drawn if f.object]
    assert np.mean([f.true for f in about]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([not f.object for f in drawn]) == pytest.approx(0.05, abs=0.02)
    assert not any(f.true for f in drawn if not f.object)


def test_sampled_names_fit_one_object_only():
    rng = np.random.default_rng(0)
    scene = SCENES["3"]
    marker, block = (next(t for t in scene.objects if t.kind == k) for k in ("marker", "block"))
    names = {sample_name(marker, scene, rng) for _ in range(300)}
    assert {"green marker", "marker", "green pen", "green object"} <= names
    names |= {sample_name(block, scene, rng) for _ in range(300)}
    assert "object" not in names
    for seed in range(30):
        scene = sample_scene("broad", seed)
        all_names = [{sample_name(t, scene, rng) for _ in range(60)} for t in scene.objects]
        for i, one in enumerate(all_names):
            assert all(one.isdisjoint(other) for other in all_names[i + 1 :])


def test_an_absent_name_fits_no_object_of_the_scene():
    rng = np.random.default_rng(0)
    for seed in range(30):
        scene = sample_scene("broad", seed)
        there = {f"{t.color} {t.kind}" for t in scene.objects} | {t.name for t in scene.objects}
        assert not there & {absent_name(scene, rng) for _ in range(30)}


def test_images_of_a_scene_are_the_same_for_the_same_seed():
    first, second = (list(islice(label_scene(SCENES["6"], 5, SMALL), 6)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert (a.image == b.image).all()
        assert a.questions == b.questions
        assert (a.answers == b.answers).all()
    assert len({a.image.tobytes() for a in first}) == 6


def test_a_scene_gives_all_its_images_although_its_physics_diverges(monkeypatch):
    steps, act = itertools.count(1), World.step

    def step(world, action):
        if next(steps) % 6 == 0:
            world.data.qvel[0] = np.nan
        return act(world, action)

    monkeypatch.setattr(World, "step", step)
    assert len(scene_images(0, 1, SMALL)) == SMALL.images
    assert next(steps) > 6


def test_a_scene_without_room_gives_no_image_and_is_named(monkeypatch):
    def no_room(world, seed):
        raise NoRoom("the objects don't fit on the table")

    monkeypatch.setattr(World, "reset", no_room)
    assert scene_images(0, 1, SMALL) == []
    with pytest.raises(ConfigError, match="scene '6': 5 resets in a row"):
        next(label_scene(SCENES["6"], 5, SMALL))


def test_points_lie_on_their_objects():
    """The only object of its color is found at that color."""
    scene = SCENES["6"]
    config = LabeledImageConfig(resolution=256, questions=30, views=1, activities=1, stops=1)
    labeled = next(label_scene(scene, 1, config))
    named = [
        i for i, q in enumerate(labeled.questions) if parse_question(q).container == "blue bowl"
    ]
    point = labeled.points[named[0], 1]
    x, y = ((point + 1) * 128).astype(int)
    patch = labeled.image[y - 6 : y + 6, x - 6 : x + 6].reshape(-1, 3).astype(float).mean(0)
    assert patch[2] > 1.3 * patch[0]


def test_a_corpus_is_generated_in_processes_resumed_and_read_back(tmp_path):
    made = make_vlm_corpus(tmp_path, 40, workers=2, seed=1, config=SMALL)
    assert made.images.shape == (40, 32, 32, 3)
    assert made.points.shape == (40, 4, 2, 2)
    assert made.scenes.max() == 4
    again = make_vlm_corpus(tmp_path, 40, workers=1, seed=1, config=SMALL)
    assert (again.questions == made.questions).all()
    for row, kind in zip(made.questions.ravel(), made.kinds.ravel(), strict=True):
        parsed = parse_question(made.words[row]).kind
        assert parsed in (QUESTION_KINDS[kind], "other")
    own, held_out = made.split(0.2)
    assert set(made.scenes[own]).isdisjoint(made.scenes[held_out])
    assert len(own) + len(held_out) == 40
    with pytest.raises(ConfigError, match="another corpus"):
        make_vlm_corpus(tmp_path, 64, seed=1, config=SMALL)


def test_a_folder_without_a_corpus_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"corpus\.json"):
        VLMCorpus.load(tmp_path)


def test_the_only_object_of_its_kind_may_be_named_by_it():
    scene = SCENES["6"]
    rng = np.random.default_rng(0)
    bowl = SceneObject("blue bowl", "bowl", "blue")
    assert "bowl" in {sample_name(bowl, scene, rng) for _ in range(100)}


def corpus_of(scenes: np.ndarray) -> VLMCorpus:
    """A corpus of black images without questions."""
    n = len(scenes)
    rows = np.zeros((n, 0), np.int32)
    return VLMCorpus(
        images=np.zeros((n, 8, 8, 3), np.uint8), questions=rows, kinds=rows, answers=rows.astype(bool),
        points=np.zeros((n, 0, 2, 2), np.float32), scenes=scenes, words=(), about={},
    )  # fmt: skip


@pytest.mark.parametrize(("scenes", "held_out"), [(2, 1), (10, 1), (40, 2)])
def test_a_scene_at_least_is_held_out(scenes: int, held_out: int) -> None:
    corpus = corpus_of(np.repeat(np.arange(scenes, dtype=np.int32), 3))
    own, apart = corpus.split(0.05)
    assert len(apart) == 3 * held_out
    assert sorted([*own, *apart]) == list(range(3 * scenes))
    assert len(corpus.split(1.0)[1]) == 3 * scenes


def test_images_of_one_scene_are_too_few() -> None:
    with pytest.raises(ConfigError, match="valid: more images"):
        corpus_of(np.zeros(5, np.int32)).split(0.05)
