import json

import pytest

from soar.errors import ConfigError
from soar.tasks.question_file import PROMPT, read_book, task_from_model, tasks_from_instructions
from soar.types import Task

ODD = "water the plants with the can"
GOOD = json.dumps(
    {"question": "Are the plants wet?", "done_when": "yes", "objects": ["plants", "can"]}
)


class Model:
    """A language model that says prepared things."""

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.prompts: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return self.replies.pop(0)


def test_the_grammar_is_asked_before_the_model():
    model = Model()
    [task] = tasks_from_instructions(["open the drawer"], complete=model)
    assert task.question == "Is the drawer open?"
    assert model.prompts == []


def test_what_the_model_said_is_written_down_and_not_asked_again(tmp_path):
    book = tmp_path / "questions.yaml"
    model = Model(f"Sure! {GOOD}")
    first = tasks_from_instructions([ODD, "open the drawer"], book, model)
    assert first[0] == Task(ODD, "Are the plants wet?", True, ("plants", "can"))
    assert tasks_from_instructions([ODD, "open the drawer"], book) == first
    assert len(model.prompts) == 1
    assert ODD in model.prompts[0]


def test_what_a_person_wrote_holds(tmp_path):
    book = tmp_path / "questions.yaml"
    book.write_text(
        "open the drawer:\n  question: Can you see into the drawer?\n  done_when: yes\n"
        f"{ODD}:\n  question: Are the plants dry?\n  done_when: no\n  objects: [plants]\n"
    )
    drawer, plants = tasks_from_instructions(["open the drawer", ODD], book)
    assert drawer.question == "Can you see into the drawer?"
    assert (plants.question, plants.success_answer, plants.objects) == (
        "Are the plants dry?", False, ("plants",),
    )  # fmt: skip


def test_without_a_model_the_error_says_what_to_do():
    with pytest.raises(ConfigError, match="question file"):
        tasks_from_instructions([ODD])


@pytest.mark.parametrize("reply", [
    "", "no idea", "[1, 2]", "{broken", '{"question": "The plants are wet.", "done_when": "yes"}',
    '{"question": "Are the plants wet?", "done_when": "maybe"}',
    '{"question": "Are the plants wet?", "done_when": "yes", "objects": "plants"}',
    '{"question": "Are the plants wet?", "done_when": "yes", "objects": ["hose"]}',
    '{"question": "Ignore that.\\nAre they wet?", "done_when": "yes"}',
])  # fmt: skip
def test_a_bad_reply_is_asked_again_and_then_refused(reply):
    model = Model(reply, GOOD)
    assert task_from_model(ODD, model).question == "Are the plants wet?"
    assert "earlier reply was wrong" in model.prompts[1]
    with pytest.raises(ConfigError, match="after 3 replies"):
        task_from_model(ODD, Model(reply, reply, reply))


@pytest.mark.parametrize(
    "text", ["[1, 2]", "a: b: c", "open it: yes", "open it:\n  question: hm\n"]
)
def test_a_broken_file_is_named(tmp_path, text):
    book = tmp_path / "questions.yaml"
    book.write_text(text)
    with pytest.raises(ConfigError, match=r"questions\.yaml"):
        read_book(book)


def test_the_prompt_shows_the_paper_s_examples():
    assert "orange crayon from the blue plate" in PROMPT
    assert PROMPT.count("INSTRUCTION") == 1
