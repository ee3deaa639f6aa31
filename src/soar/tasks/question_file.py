"""Tasks of any wording: from a question file that a person can edit, the grammar, or a language model.

The question file comes first, then the grammar, then the language model. The model's questions are written to the
file, so that it is asked once per task and its questions can be corrected:

    put the kettle on its base:
      question: Is the kettle on its base?
      done_when: yes
      objects: [kettle]
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeAlias

from soar.errors import ConfigError
from soar.tasks.grammar import parse_instruction, task_from_instruction
from soar.tasks.noun_phrases import is_understood
from soar.tasks.questions import parse_question
from soar.types import EpisodeSummary, QuestionKind, Skill, Task
from soar.utils.files import Json, write_bytes
from soar.utils.progress import announce
from soar.utils.yaml_files import dump, read_plain

Complete: TypeAlias = Callable[[str], str]
"""A language model: takes a prompt and returns its reply."""

_ATTEMPTS = 3
_MAX_CHARACTERS = 200
_SKILLS: dict[tuple[QuestionKind, bool], Skill] = {
    ("in", True): "put", ("in", False): "take out", ("table", True): "put",
    ("left", True): "move", ("right", True): "move",
    ("open", True): "open", ("open", False): "close", ("closed", True): "close", ("closed", False): "open",
    ("folded", True): "fold", ("folded", False): "unfold", ("unfolded", True): "unfold", ("unfolded", False): "fold",
}  # fmt: skip
"""Skill of a task in free words, by the kind of its question and the answer that means done."""

PROMPT = """\
A robot is given tasks on a tabletop. For each task, write a yes/no question in English about a photo of the table \
that tells whether the task is done, the answer that means it is done, and the objects that must be \
on the table for the task to make sense, each named as in the question or in the task. \
Reply with one JSON object only.

Task: move the orange crayon from the blue plate to the table
{"question": "Is the orange crayon on the blue plate?", "done_when": "no", "objects": ["orange crayon", "blue plate"]}
Task: put the orange crayon on the cloth
{"question": "Is the orange crayon on top of the cloth?", "done_when": "yes", "objects": ["orange crayon", "cloth"]}
Task: close the microwave
{"question": "Is the microwave door closed?", "done_when": "yes", "objects": ["microwave"]}
Task: stand the bottle upright
{"question": "Is the bottle standing upright?", "done_when": "yes", "objects": ["bottle"]}
Task: unstack the red cup from the green cup
{"question": "Is the red cup stacked on the green cup?", "done_when": "no", "objects": ["red cup", "green cup"]}
Task: place the fork to the left of the plate
{"question": "Is the fork to the left of the plate?", "done_when": "yes", "objects": ["fork", "plate"]}
Task: stelle die Tasse auf das Tablett
{"question": "Is the cup on the tray?", "done_when": "yes", "objects": ["cup", "tray"]}
Task: INSTRUCTION
"""
"""Few-shot prompt after the paper's Table 3; INSTRUCTION stands for the task."""


def tasks_from_instructions(
    instructions: Sequence[str],
    file: str | Path | None = None,
    complete: Complete | None = None,
) -> tuple[Task, ...]:
    """Return the tasks, each with its question; reports on the console which ones the grammar didn't provide.

    Args:
        instructions: tasks in words.
        file: question file; None or "" for none. It may be missing, and is written if `complete` had to be asked.
        complete: language model for what neither the file nor the grammar knows.

    Raises:
        ConfigError: a task has no question, or the file can't be read; the message says which task, and
            what to do.
    """
    known = read_questions(file) if file else {}
    tasks: dict[str, Task] = {}
    written: dict[str, Task] = {}
    for instruction in instructions:
        if instruction in known:
            tasks[instruction] = known[instruction]
            _report(tasks[instruction], str(file))
            continue
        try:
            tasks[instruction] = task_from_instruction(instruction)
        except ConfigError:
            if complete is None:
                raise
            tasks[instruction] = written[instruction] = task_from_model(instruction, complete)
            _report(tasks[instruction], "the language model")
    if file and written:
        write_questions(file, {**known, **written})
    return tuple(tasks[i] for i in instructions)


def task_of_episode(episode: EpisodeSummary) -> Task:
    """Return the task of a stored episode, of which the store keeps instruction, question, answer and objects.

    Raises:
        ConfigError: the episode was not proposed, and its instruction has none of the usual forms.
    """
    proposal = episode.provenance.proposal
    if proposal is None or not proposal.task.question.text:
        return task_from_instruction(episode.instruction)
    task = proposal.task
    return _free_task(task.instruction, task.question.text, task.success_answer, task.objects)


def task_from_model(instruction: str, complete: Complete) -> Task:
    """Return a task whose question a language model wrote. Raises ConfigError after three unusable replies."""
    problem = ""
    for _ in range(_ATTEMPTS):
        reply = complete(PROMPT.replace("INSTRUCTION", instruction) + problem)
        try:
            task = _read_entry(instruction, _json_object(reply))
            _check_objects(task)
        except ConfigError as error:
            problem = f"(An earlier reply was wrong: {error}.)\n"
            continue
        return task
    raise ConfigError(
        f"no usable question for the task '{instruction}' after {_ATTEMPTS} replies {problem.strip()};"
        " write it into the question file"
    )


def read_questions(path: str | Path) -> dict[str, Task]:
    """Return the tasks of a question file by instruction; none if the file doesn't exist.

    Raises:
        ConfigError: an entry is wrong; the message names it.
    """
    path = Path(path)
    if not path.exists():
        return {}
    content = read_plain(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must map each task to its question, done_when and objects")
    try:
        return {task: _read_entry(task, entry) for task, entry in content.items()}
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def write_questions(path: str | Path, tasks: Mapping[str, Task]) -> None:
    """Write a question file, whole or not at all."""
    content = {
        instruction: {
            "question": task.question.text,
            "done_when": "yes" if task.success_answer else "no",
            "objects": list(task.objects),
        }
        for instruction, task in tasks.items()
    }
    write_bytes(Path(path), dump(content).encode())


def _free_task(
    instruction: str, question: str, success_answer: bool, objects: Sequence[str]
) -> Task:
    """A task with a given question; skill and object names follow from the instruction, else from the question."""
    asked = parse_question(question)
    task = parse_instruction(instruction)
    skill = _SKILLS.get((asked.kind, success_answer))
    if not task.skill and skill and is_understood(asked.object):
        container = "table" if asked.kind == "table" else asked.container
        side = asked.kind if asked.kind in ("left", "right") else None
        task = replace(task, skill=skill, object=asked.object, container=container, direction=side)
    return replace(task, question=asked, success_answer=success_answer, objects=tuple(objects))


def _read_entry(instruction: str, entry: Json) -> Task:
    """The task of a question file's entry. Raises ConfigError saying what is wrong with it."""
    if not isinstance(entry, dict):
        raise ConfigError(f"the entry of '{instruction}' needs question, done_when and objects")
    question, done, objects = (entry.get(k) for k in ("question", "done_when", "objects"))
    if not isinstance(question, str) or not _is_yes_no_question(question):
        raise ConfigError(
            f"'{instruction}' needs a yes/no question on one line, such as 'Is the drawer open?',"
            f" not {question!r}"
        )
    answers = {"yes": True, "no": False, "true": True, "false": False}
    if str(done).lower() not in answers:
        raise ConfigError(f"'{instruction}' needs done_when: yes or no, not {done!r}")
    if not isinstance(objects or [], list) or not all(isinstance(o, str) for o in objects or []):
        raise ConfigError(f"'{instruction}' needs a list of objects in words, not {objects!r}")
    return _free_task(instruction, question.strip(), answers[str(done).lower()], objects or ())


def _is_yes_no_question(text: str) -> bool:
    """Whether it can be answered by yes or no, by its first word."""
    start = r"(is|are|was|were|does|do|did|has|have|can|could|will|would)\b"
    text = text.strip()
    is_line = len(text) <= _MAX_CHARACTERS and "\n" not in text and text.endswith("?")
    return is_line and bool(re.match(start, text.lower()))


def _check_objects(task: Task) -> None:
    """Refuse objects that neither the task nor its question names: their presence can't be asked about."""
    words = f"{task.instruction} {task.question}".lower()
    for name in task.objects:
        if name.lower() not in words:
            raise ConfigError(f"the object '{name}' isn't in the words of the task or its question")


def _json_object(reply: str) -> Json:
    """The first JSON object in a reply. Raises ConfigError."""
    match = re.search(r"\{[^{}]*\}", reply)
    try:
        return json.loads(match[0]) if match else None
    except json.JSONDecodeError:
        raise ConfigError("the reply is no JSON object") from None


@cache
def _report(task: Task, source: str) -> None:
    """Print once where a question comes from and what it is."""
    done = "yes" if task.success_answer else "no"
    announce(f"'{task.instruction}': question from {source}: {task.question} ({done} = done)")
