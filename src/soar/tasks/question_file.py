"""Tasks with their questions, from a file that a person can edit, the grammar, or a language model.

In that order: what the file says holds. What a language model was asked is written to the file, so that
it is asked once, and can be corrected by hand:

    put the kettle on its base:
      question: Is the kettle on its base?
      done_when: yes
      objects: [kettle]
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import yaml

from soar.errors import ConfigError
from soar.tasks.grammar import task_from_instruction
from soar.types import Task
from soar.utils.files import Json, write_bytes

Complete: TypeAlias = Callable[[str], str]
"""A language model: a prompt in, its reply out."""

_ATTEMPTS = 3
_LONGEST = 200

PROMPT = """\
A robot is given tasks on a tabletop. For each task, write a yes/no question about a photo of the table \
that tells whether the task is done, the answer that means it is done, and the objects that must be \
on the table for the task to make sense, in the task's own words. Reply with one JSON object only.

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
Task: INSTRUCTION
"""
"""Few-shot, after the paper's Table 3; INSTRUCTION stands for the task."""


def tasks_from_instructions(
    instructions: Sequence[str], book: str | Path | None = None, complete: Complete | None = None
) -> tuple[Task, ...]:
    """The tasks, each with its question.

    Args:
        instructions: in words.
        book: the question file; it may be missing, and is written when `complete` had to be asked.
        complete: the language model, for what neither the file nor the grammar knows.

    Raises:
        ConfigError: a task's question is not to be found, or the file can't be read; the message says
            which task, and what to do.
    """
    known = read_book(book) if book else {}
    tasks: dict[str, Task] = {}
    asked: dict[str, Task] = {}
    for instruction in instructions:
        if instruction in known:
            tasks[instruction] = known[instruction]
            continue
        try:
            tasks[instruction] = task_from_instruction(instruction)
        except ConfigError:
            if complete is None:
                raise
            tasks[instruction] = asked[instruction] = task_from_model(instruction, complete)
    if book and asked:
        write_book(book, {**known, **asked})
    return tuple(tasks[i] for i in instructions)


def task_from_model(instruction: str, complete: Complete) -> Task:
    """A task whose question a language model wrote, checked. Raises ConfigError after three bad replies."""
    problem = ""
    for _ in range(_ATTEMPTS):
        reply = complete(PROMPT.replace("INSTRUCTION", instruction) + problem)
        try:
            task = _task(instruction, _json_object(reply))
            _check_objects(task)
        except ConfigError as error:
            problem = f"(An earlier reply was wrong: {error}.)\n"
            continue
        return task
    raise ConfigError(
        f"no usable question for the task '{instruction}' after {_ATTEMPTS} replies {problem.strip()};"
        " write it into the question file"
    )


def read_book(path: str | Path) -> dict[str, Task]:
    """Tasks by instruction; none if the file doesn't exist. Raises ConfigError naming a wrong entry."""
    path = Path(path)
    if not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must map each task to its question, done_when and objects")
    try:
        return {str(task): _task(str(task), entry) for task, entry in content.items()}
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def write_book(path: str | Path, tasks: Mapping[str, Task]) -> None:
    """Write a question file for people to read and edit."""
    content = {
        instruction: {
            "question": task.question,
            "done_when": "yes" if task.success_answer else "no",
            "objects": list(task.objects),
        }
        for instruction, task in tasks.items()
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    write_bytes(Path(path), text.encode())


def _task(instruction: str, entry: Json) -> Task:
    """An entry as a task. Raises ConfigError saying what is wrong with it."""
    if not isinstance(entry, dict):
        raise ConfigError(f"the entry of '{instruction}' needs question, done_when and objects")
    question, done, objects = (entry.get(k) for k in ("question", "done_when", "objects"))
    if not isinstance(question, str) or not _is_question(question):
        raise ConfigError(
            f"'{instruction}' needs a yes/no question on one line, such as 'Is the drawer open?',"
            f" not {question!r}"
        )
    answers = {"yes": True, "no": False, "true": True, "false": False}
    if str(done).lower() not in answers:
        raise ConfigError(f"'{instruction}' needs done_when: yes or no, not {done!r}")
    if not isinstance(objects or [], list) or not all(isinstance(o, str) for o in objects or []):
        raise ConfigError(f"'{instruction}' needs a list of objects in words, not {objects!r}")
    return Task(instruction, question.strip(), answers[str(done).lower()], tuple(objects or ()))


def _is_question(text: str) -> bool:
    """Whether it can be answered by yes or no: by its first word."""
    start = r"(is|are|was|were|does|do|did|has|have|can|could|will|would)\b"
    text = text.strip()
    return bool(re.match(start, text.lower())) and text.endswith("?") and len(text) <= _LONGEST and "\n" not in text  # fmt: skip


def _check_objects(task: Task) -> None:
    """A model must name things in the task's words, or their presence can't be asked about."""
    for thing in task.objects:
        if thing.lower() not in task.instruction.lower():
            raise ConfigError(f"the object '{thing}' isn't in the task's words")


def _json_object(reply: str) -> Json:
    """The first JSON object in a reply. Raises ConfigError."""
    match = re.search(r"\{[^{}]*\}", reply)
    try:
        return json.loads(match[0]) if match else None
    except json.JSONDecodeError:
        raise ConfigError("the reply is no JSON object") from None
