import pytest

from soar.errors import ConfigError
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.regimes import sample_scene
from soar.tasks.grammar import present_question, questions_of, skill_of, task_from_instruction

PAPER = {
    # Tables 3 and 4 of the paper: instruction -> question, the answer that means done
    "move the orange crayon from the blue plate to the table": (
        "Is the orange crayon on the blue plate?", False,
    ),
    "put the orange crayon on the cloth": ("Is the orange crayon on the cloth?", True),
    "move the red object from the blue plate to the table": (
        "Is the red object on the blue plate?", False,
    ),
    "Put the green block into the brown bowl.": ("Is the green block in the brown bowl?", True),
}  # fmt: skip

USUAL = {
    "remove the green block from inside the wooden bowl and put it on the table": (
        "Is the green block in the wooden bowl?", False,
    ),
    "take the red object out of the green plate and put it on the table": (
        "Is the red object on the green plate?", False,
    ),
    "move the green marker to the left side": (
        "Is the green marker on the left side of the table?", True,
    ),
    "move the green spoon to the right": ("Is the green spoon on the right side of the table?", True),
    "open the drawer": ("Is the drawer open?", True),
    "push the drawer shut": ("Is the drawer closed?", True),
    "fold the cloth from right to left": ("Is the cloth folded?", True),
    "unfold the cloth from left to right": ("Is the cloth unfolded?", True),
    "take the block off the plate": ("Is the block on the plate?", False),
    "pick up the block and put it in the pot": ("Is the block in the pot?", True),
    "take the block out of the pot and put it in the bowl": ("Is the block in the bowl?", True),
    "put the lemon on the table": ("Is the lemon on the table?", True),
    "place the scissors on the tray": ("Are the scissors on the tray?", True),
}  # fmt: skip


@pytest.mark.parametrize(("instruction", "expected"), [*PAPER.items(), *USUAL.items()])
def test_usual_instructions_become_their_questions(instruction, expected):
    task = task_from_instruction(instruction)
    assert (task.question, task.success_answer) == expected
    assert task.instruction == instruction


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_every_task_of_every_scene_has_a_question_about_things_of_the_scene(scene):
    things = {t.name for t in scene.objects}
    for scene_task in scene.tasks:
        assert set(task_from_instruction(scene_task.instruction).objects) <= things


@pytest.mark.parametrize("regime", ["broad", "bridge"])
def test_every_wording_of_the_random_scenes_has_a_question(regime):
    for seed in range(40):
        scene = sample_scene(regime, seed)
        things = {t.name for t in scene.objects}
        for scene_task in scene.tasks:
            assert set(task_from_instruction(scene_task.instruction).objects) <= things


def test_two_tasks_that_undo_each_other_are_never_both_done():
    put = task_from_instruction("put the lemon on the blue plate")
    remove = task_from_instruction("remove the lemon from the blue plate and put it on the table")
    assert put.question == remove.question
    assert put.success_answer != remove.success_answer


def test_a_look_asks_each_question_once_and_for_each_object_whether_it_is_there():
    tasks = [
        task_from_instruction(text)
        for text in (
            "put the lemon on the plate",
            "take the lemon off the plate",
            "open the drawer",
        )
    ]
    assert questions_of(tasks) == (
        "Is the lemon on the plate?",
        "Is the drawer open?",
        "Is there a lemon present?",
        "Is there a plate present?",
        "Is there a drawer present?",
    )


def test_articles_fit_their_nouns():
    assert present_question("orange crayon") == "Is there an orange crayon present?"
    assert present_question("scissors") == "Is there any scissors present?"
    assert present_question("glass") == "Is there a glass present?"


def test_an_instruction_of_no_known_form_names_the_valid_ones():
    with pytest.raises(ConfigError, match="open\\|close the X"):
        task_from_instruction("water the plants")


@pytest.mark.parametrize(
    ("instruction", "wanted"),
    [
        ("Put the lemon in the wooden bowl.", "put"),
        ("place the teal block in the red pot", "put"),
        ("take the carrot out of the green plate and put it on the table", "take out"),
        ("remove the pepper from inside the bowl and put it on the table", "take out"),
        ("move the purple marker to the left side", "left"),
        ("push the spoon towards the right", "right"),
        ("pull the drawer open", "open"),
        ("close the drawer", "close"),
        ("fold the cloth from right to left", "fold"),
        ("unfold the cloth", "unfold"),
        ("move the pot from the stove to the sink", "take out"),
        ("sing a song", None),
    ],
)
def test_tasks_that_are_a_grasp_and_a_release_are_known(instruction, wanted):
    assert skill_of(instruction) == wanted
