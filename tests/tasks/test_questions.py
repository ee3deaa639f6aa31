from dataclasses import astuple

import pytest

from soar.pretraining.question_templates import TEMPLATES, fill
from soar.tasks.grammar import task_from_instruction
from soar.tasks.noun_phrases import with_article
from soar.tasks.questions import QUESTION_KINDS, make_question, parse_question, present_question
from soar.types import Question

INSTRUCTIONS = {
    "put the green block in the wooden bowl": ("in", "is it in that?", "green block", "wooden bowl"),
    "move the green spoon to the right": ("right", "is it on the right side of the table?", "green spoon", ""),
    "open the drawer": ("open", "is it open?", "drawer", ""),
    "close the drawer": ("closed", "is it closed?", "drawer", ""),
    "fold the cloth from right to left": ("folded", "is it folded?", "cloth", ""),
    "unfold the cloth": ("unfolded", "is it unfolded?", "cloth", ""),
    "put the lemon on the table": ("table", "is it on the table?", "lemon", ""),
    "put the scissors on the tray": ("in", "are it on that?", "scissors", "tray"),
}  # fmt: skip


@pytest.mark.parametrize(("instruction", "parts"), INSTRUCTIONS.items())
def test_questions_of_tasks_carry_their_parts(instruction, parts):
    question = task_from_instruction(instruction).question
    assert astuple(question)[1:] == parts


@pytest.mark.parametrize("kind", [k for k in QUESTION_KINDS if k != "other"])
@pytest.mark.parametrize("name", ["lemon", "scissors", "orange crayon", "cup of tea"])
def test_a_question_made_of_parts_and_its_parsed_text_are_the_same(kind, name):
    question = make_question(kind, name, "blue plate")
    assert astuple(parse_question(question.text)) == astuple(question)
    assert parse_question(question.text).kind == kind


def test_the_frame_is_the_question_with_pronouns():
    assert parse_question("Is the lemon in the bowl?").frame == "is it in that?"
    assert parse_question("Does the bowl contain the lemon?").frame == "does that contain it?"


@pytest.mark.parametrize("kind", TEMPLATES)
def test_every_wording_of_the_corpus_parses_as_its_kind_or_not_at_all(kind):
    for template in TEMPLATES[kind]:
        question = parse_question(fill(template, "green block", "blue plate"))
        assert question.kind in (kind, "other")
        if question.kind == kind:
            assert question.object == "green block"
            assert question.container in ("blue plate", "")


@pytest.mark.parametrize("kind", TEMPLATES)
def test_the_first_wording_of_the_corpus_is_the_one_that_tasks_use(kind):
    question = make_question(kind, "orange pen", "tray")
    assert fill(TEMPLATES[kind][0], "orange pen", "tray") == question.text


@pytest.mark.parametrize("text", [
    "Does it look like rain?",
    "Is the block to the left of the bowl?",
    "Is the cup on the left of the fork?",
    "Is the cup on the plate next to the bowl?",
    "Is the cup between the fork and the bowl?",
    "Is the cup in the middle of the table?",
    "Is the lid on the pot upside down?",
    "Is the cup with the handle on the tray?",
    "Is the cup on the tray that is red?",
])  # fmt: skip
def test_a_question_of_no_known_form_has_no_parts(text):
    assert astuple(parse_question(text)) == (text, "other", "", "", "")


def test_questions_of_the_same_text_are_equal():
    assert parse_question("Is the drawer open?") == Question("Is the drawer open?")
    assert {make_question("open", "drawer"): 1}[Question("Is the drawer open?")] == 1


def test_articles_fit_their_nouns():
    assert present_question("orange crayon").text == "Is there an orange crayon present?"
    assert present_question("scissors").text == "Is there any scissors present?"
    assert present_question("glass").text == "Is there a glass present?"


@pytest.mark.parametrize(
    "noun",
    [
        "umbrella",
        "urn",
        "old pot",
        "unpeeled egg",
        "Ulu knife",
        "hourglass",
        "unidentified lid",
        "uninflated balloon",
    ],
)
def test_an_goes_before_a_vowel_that_is_heard(noun: str) -> None:
    assert with_article(noun) == f"an {noun}"


@pytest.mark.parametrize(
    "noun",
    [
        "utensil",
        "USB stick",
        "used cup",
        "unicorn",
        "U-bolt",
        "UV lamp",
        "ewer",
        "uniform",
        "one-handled pot",
        "house",
    ],
)
def test_a_goes_before_a_consonant_that_is_heard(noun: str) -> None:
    assert with_article(noun) == f"a {noun}"
