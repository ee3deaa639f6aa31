import pytest

from soar.pretraining.question_templates import TEMPLATES, fill
from soar.tasks.grammar import task_from_instruction
from soar.tasks.questions import QUESTION_KINDS, parse_question


@pytest.mark.parametrize(("instruction", "kind", "thing", "container"), [
    ("put the green block in the wooden bowl", "in", "green block", "wooden bowl"),
    ("move the green spoon to the right", "right", "green spoon", ""),
    ("open the drawer", "open", "drawer", ""),
    ("close the drawer", "closed", "drawer", ""),
    ("fold the cloth from right to left", "folded", "cloth", ""),
    ("unfold the cloth", "unfolded", "cloth", ""),
    ("put the lemon on the table", "table", "lemon", ""),
])  # fmt: skip
def test_questions_of_tasks_come_apart(instruction, kind, thing, container):
    parts = parse_question(task_from_instruction(instruction).question)
    assert (parts.kind, parts.thing, parts.container) == (kind, thing, container)


def test_the_frame_has_pronouns_for_its_nouns():
    assert parse_question("Is the lemon in the bowl?").frame == "is it in that?"
    assert parse_question("Does the bowl contain the lemon?").frame == "does that contain it?"


@pytest.mark.parametrize("kind", TEMPLATES)
def test_each_wording_is_read_as_its_own_kind_or_not_at_all(kind):
    for template in TEMPLATES[kind]:
        parts = parse_question(fill(template, "green block", "blue plate"))
        assert parts.kind in (kind, "other")
        if parts.kind == kind:
            assert parts.thing == "green block"


@pytest.mark.parametrize("kind", TEMPLATES)
def test_the_first_wording_of_each_kind_can_be_read(kind):
    assert parse_question(fill(TEMPLATES[kind][0], "orange pen", "tray")).kind == kind


def test_what_cannot_be_taken_apart_stays_whole():
    parts = parse_question("Does it look like rain?")
    assert (parts.kind, parts.frame) == ("other", "does it look like rain?")
    assert parse_question("Is the block to the left of the bowl?").kind == "other"
    assert set(TEMPLATES) | {"other"} == set(QUESTION_KINDS)
