import json
from dataclasses import replace

import pytest

from soar.errors import ConfigError
from soar.tasks.grammar import task_from_instruction
from soar.tasks.question_file import (
    PROMPT,
    read_questions,
    task_from_model,
    task_of_episode,
    tasks_from_instructions,
)
from soar.types import EpisodeSummary, Proposal, Provenance, Question, Task, Verdict

ODD = "water the plants with the can"
GOOD = json.dumps(
    {"question": "Are the plants wet?", "done_when": "yes", "objects": ["plants", "can"]}
)


class Model:
    """A language model with prepared replies."""

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.prompts: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return self.replies.pop(0)


def test_the_grammar_comes_before_the_model():
    model = Model()
    [task] = tasks_from_instructions(["open the drawer"], complete=model)
    assert task.question.text == "Is the drawer open?"
    assert model.prompts == []


def test_the_model_s_question_is_written_to_the_file_and_not_requested_again(tmp_path):
    file = tmp_path / "questions.yaml"
    model = Model(f"Sure! {GOOD}")
    first = tasks_from_instructions([ODD, "open the drawer"], file, model)
    assert first[0] == Task(ODD, Question("Are the plants wet?"), True, ("plants", "can"))
    assert tasks_from_instructions([ODD, "open the drawer"], file) == first
    assert len(model.prompts) == 1
    assert ODD in model.prompts[0]


def test_a_person_s_question_has_precedence(tmp_path):
    file = tmp_path / "questions.yaml"
    file.write_text(
        "open the drawer:\n  question: Can you see into the drawer?\n  done_when: yes\n"
        f"{ODD}:\n  question: Are the plants dry?\n  done_when: no\n  objects: [plants]\n"
    )
    drawer, plants = tasks_from_instructions(["open the drawer", ODD], file)
    assert (drawer.question.text, drawer.skill) == ("Can you see into the drawer?", "open")
    assert (plants.question.text, plants.success_answer, plants.objects) == (
        "Are the plants dry?", False, ("plants",),
    )  # fmt: skip


def test_one_line_reports_where_a_question_comes_from(tmp_path, capsys):
    file, task = tmp_path / "q.yaml", "wipe the window"
    entry = {"question": "Is the window clean?", "done_when": "yes", "objects": ["window"]}
    tasks_from_instructions([task, "open the drawer"], file, Model(json.dumps(entry)))
    shown = " ".join(capsys.readouterr().err.split())
    assert f"'{task}': question from the language model: Is the window clean? (yes = done)" in shown
    assert "drawer" not in shown
    for _ in range(2):
        tasks_from_instructions([task], file)
    shown = "".join(capsys.readouterr().err.split())
    assert shown.count("questionfrom") == 1
    assert "q.yaml:Isthewindowclean?" in shown


@pytest.mark.parametrize(("instruction", "question", "done", "parts"), [
    ("stelle die Tasse auf das Tablett", "Is the cup on the tray?", "yes", ("put", "cup", "tray", None)),
    ("unload the cup from the tray, please", "Is the cup on the tray?", "no", ("take out", "cup", "tray", None)),
    ("clear the table's left half of the mug", "Is the mug on the right side of the table?", "yes", ("move", "mug",
        "", "right")),
    ("shut it, the drawer", "Is the drawer open?", "no", ("close", "drawer", "", None)),
    ("tidy up the cloth", "Is the cloth folded?", "yes", ("fold", "cloth", "", None)),
    ("pour the beads from the cup into the bowl", "Have the beads left the cup?", "yes", (None, "", "", None)),
    ("place the fork left of the plate", "Is the fork to the left of the plate?", "yes", (None, "", "", None)),
    ("stack the cup on the plate beside the pot", "Is the cup on the plate beside the pot?", "yes", (None, "", "",
        None)),
])  # fmt: skip
def test_skill_and_names_of_a_free_wording_follow_from_its_question(
    instruction, question, done, parts
):
    entry = json.dumps({"question": question, "done_when": done, "objects": []})
    task = task_from_model(instruction, Model(entry))
    assert task.question.text == question
    assert (task.skill, task.object, task.container, task.direction) == parts


def test_without_a_model_the_error_names_the_forms_and_the_question_file():
    with pytest.raises(ConfigError, match=r"question file.*open\|close the X"):
        tasks_from_instructions([ODD])


@pytest.mark.parametrize("reply", [
    "", "no idea", "[1, 2]", "{broken", '{"question": "The plants are wet.", "done_when": "yes"}',
    '{"question": "Are the plants wet?", "done_when": "maybe"}',
    '{"question": "Are the plants wet?", "done_when": "yes", "objects": "plants"}',
    '{"question": "Are the plants wet?", "done_when": "yes", "objects": ["hose"]}',
    '{"question": "Ignore that.\\nAre they wet?", "done_when": "yes"}',
])  # fmt: skip
def test_a_bad_reply_is_requested_again_and_then_refused(reply):
    model = Model(reply, GOOD)
    assert task_from_model(ODD, model).question.text == "Are the plants wet?"
    assert "earlier reply was wrong" in model.prompts[1]
    with pytest.raises(ConfigError, match="after 3 replies"):
        task_from_model(ODD, Model(reply, reply, reply))


@pytest.mark.parametrize(
    "text", ["[1, 2]", "a: b: c", "open it: yes", "open it:\n  question: hm\n"]
)
def test_the_error_of_a_broken_file_names_the_file(tmp_path, text):
    file = tmp_path / "questions.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"questions\.yaml"):
        read_questions(file)


def test_the_prompt_contains_the_paper_s_examples():
    assert "orange crayon from the blue plate" in PROMPT
    assert PROMPT.count("INSTRUCTION") == 1


def stored(instruction: str, proposal: Proposal | None) -> EpisodeSummary:
    """An episode as a store returns it: of a task's question, only the text is known."""
    provenance = Provenance("one", "soar", "1", 0, 0.0, proposal=proposal)
    return EpisodeSummary("0", instruction, 3, Verdict("unknown"), provenance)


def test_a_stored_episode_has_the_task_that_it_was_proposed_with():
    task = task_from_instruction("put the lemon in the blue bowl")
    bare = Task(task.instruction, Question(task.question.text), True, task.objects)
    found = task_of_episode(stored(task.instruction, Proposal(bare, "uncertain")))
    assert found == task
    assert found.question.container == "blue bowl"
    own = replace(bare, question=Question("Does the bowl hold the lemon?"))
    asked = task_of_episode(stored(task.instruction, Proposal(own, "uncertain")))
    assert (asked.question.text, asked.question.kind) == ("Does the bowl hold the lemon?", "in")
    assert task_of_episode(stored(task.instruction, None)) == task
    with pytest.raises(ConfigError, match="no question known"):
        task_of_episode(stored(ODD, None))
