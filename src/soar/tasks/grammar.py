"""Instructions of the usual forms as tasks, with their yes/no questions (paper, B.1.1, Table 3).

The grammar understands an instruction wholly or not at all: each of its noun phrases must be one
(`soar.tasks.noun_phrases.is_understood`). `soar.tasks.question_file` finds the questions of all other instructions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, cast

from soar.errors import ConfigError
from soar.tasks.noun_phrases import (
    POSITIONS,
    SURFACES,
    VESSELS,
    Preposition,
    head,
    is_understood,
    noun_phrase,
    preposition,
)
from soar.tasks.questions import make_question, present_question
from soar.types import Direction, Question, QuestionKind, Skill, Task

FORMS = (
    "put the X in|on the Y",
    "remove|take the X from|out of|off the Y [and put it on the table]",
    "move the X to the left|right [side]",
    "move the X from the Y to the Z",
    "open|close the X",
    "fold|unfold the X",
)
"""Instructions that need neither a question file nor a language model."""

_Parts: TypeAlias = Mapping[str, str]
_Maker: TypeAlias = Callable[[str, _Parts], Task | None]


def parse_instruction(instruction: str) -> Task:
    """Return the task of an instruction; without a question where the grammar doesn't understand it wholly."""
    text = re.sub(r"\s+", " ", instruction).strip().rstrip("?.! ").lower()
    for pattern, make in _GRAMMAR:
        if match := pattern.fullmatch(text):
            parts = {name: noun_phrase(words or "") for name, words in match.groupdict().items()}
            if _are_understood(parts) and (task := make(instruction, parts)):
                return task
    return Task(instruction)


def task_from_instruction(instruction: str) -> Task:
    """Return the task of an instruction of the usual forms.

    Raises:
        ConfigError: the instruction has none of the forms in `FORMS`.
    """
    task = parse_instruction(instruction)
    if not task.question.text:
        raise ConfigError(
            f"no question known for the task '{instruction}': write its question into a question file"
            f" (`soar tasks questions --help`), or use one of the forms {'; '.join(FORMS)}"
        )
    return task


def questions_of(tasks: Iterable[Task]) -> tuple[Question, ...]:
    """Return all questions of one scene assessment: one for each task and each object, none twice."""
    tasks = tuple(tasks)
    questions = [t.question for t in tasks] + [
        present_question(o) for t in tasks for o in t.objects
    ]
    return tuple({q.text: q for q in questions}.values())


def success_probability(task: Task, p_yes: float) -> float:
    """Return P(done), given P(yes): some tasks are done when the answer is no."""
    return p_yes if task.success_answer else 1.0 - p_yes


def _are_understood(parts: _Parts) -> bool:
    """Whether each noun phrase is understood; "the side" is a goal like the table."""
    nouns = [parts.get(name, "") for name in ("object", "container", "goal")]
    return all(noun in ("", "side") or is_understood(noun) for noun in nouns) and nouns[1] != "side"


def _put(instruction: str, part: _Parts) -> Task | None:
    object, container = part["object"], part["container"]
    if not (_is_movable(object) and _is_goal(container, part["where"])):
        return None
    question = _where_question(object, container, part["where"])
    objects = (object, *_unless_table(container))
    return Task(instruction, question, True, objects, "put", object, container)


def _take_out(instruction: str, part: _Parts) -> Task | None:
    """Done when the object is out of its container; a goal other than the table must be reached too."""
    object, container = part["object"], part["container"]
    goal, to = part.get("goal", ""), part.get("to", "")
    if not (_is_movable(object) and _is_goal(goal, to) and goal != container):
        return None
    if goal in ("", "table", "side"):
        question, done = _where_question(object, container, part["where"]), False
    else:
        question, done = _where_question(object, goal, to), True
    objects = (object, *_unless_table(container), *_unless_table(goal))
    return Task(instruction, question, done, objects, "take out", object, container)


def _move(instruction: str, part: _Parts) -> Task | None:
    object, side = part["object"], cast(Direction, part["side"])
    if not _is_movable(object):
        return None
    question = make_question(side, object)
    return Task(instruction, question, True, (object,), "move", object, direction=side)


def _change(skill: Skill, kind: QuestionKind) -> _Maker:
    def make(instruction: str, part: _Parts) -> Task:
        object = part["object"]
        return Task(instruction, make_question(kind, object), True, (object,), skill, object)

    return make


def _where_question(object: str, container: str, where: str) -> Question:
    if container == "table":
        return make_question("table", object)
    on: Preposition = "on" if where.startswith("on") or where in _OFF else preposition(container)
    return make_question("in", object, container, on)


def _is_movable(object: str) -> bool:
    """Whether the name stays the object's own when it is somewhere else; "the left cup" doesn't."""
    return not POSITIONS.intersection(object.split())


def _is_goal(container: str, where: str) -> bool:
    """Whether "in" or "on" the container is meant: "to the bowl" means in it, "to the window" neither."""
    return where != "to" or container == "side" or head(container) in SURFACES | VESSELS


def _unless_table(place: str) -> tuple[str, ...]:
    """The table is always there: nobody asks whether it is present."""
    return () if place in ("", "table", "side") else (place,)


_OFF = ("off", "off of", "from on top of")
_SIDE = r"(to|on|onto|towards?) (the )?(?P<side>left|right)( hand)?( side| half)?( of the table)?"
_INTO = r"inside of|inside|into|in|on top of|onto|on|to"
_OUT_OF = r"from inside of|from inside|from on top of|from|out of|off of|off"
_EDGE = r"(the )?(left|right|top|bottom|front|back)( side| edge)?"
_ACROSS = rf"( from {_EDGE})?( to(wards?)? {_EDGE})?"
_CLOTHS = r"((the|a|my|your) )?(\w+ )*(blanket|cloth|handkerchief|napkin|rag|sheet|shirt|tablecloth|towel)"

_FORMS: tuple[tuple[str, _Maker], ...] = (
    (rf"(move|put|place|push|slide|drag|bring) (?P<object>.+?) {_SIDE}", _move),
    (r"move (?P<object>.+?) (?P<where>from) (?P<container>.+?) (?P<to>to|onto|into) (?P<goal>.+)", _take_out),
    (rf"(remove|take|get|pick up|pick|lift) (?P<object>.+?) (?P<where>{_OUT_OF}) (?P<container>.+?)"
     rf"( and (put|place|set|drop) (it|them) (?P<to>{_INTO}) (?P<goal>.+))?", _take_out),
    (rf"(put|place|drop|set|lay|move|bring) (?P<object>.+?) (?P<where>{_INTO}) (?P<container>.+)", _put),
    (rf"(pick up|take|grab|lift) (?P<object>.+?) and (put|place|drop|set) (it|them) (?P<where>{_INTO})"
     r" (?P<container>.+)", _put),
    (r"(open|pull open) (?P<object>.+)", _change("open", "open")),
    (r"pull (?P<object>.+) open", _change("open", "open")),
    (r"(close|shut) (?P<object>.+)", _change("close", "closed")),
    (r"push (?P<object>.+) (closed|shut)", _change("close", "closed")),
    (rf"fold( up)? (?P<object>.+?)( up| over| in half)?{_ACROSS}", _change("fold", "folded")),
    (rf"unfold (?P<object>.+?){_ACROSS}", _change("unfold", "unfolded")),
    (rf"(flatten|spread( out)?) (?P<object>{_CLOTHS})( out| flat)?{_ACROSS}", _change("unfold", "unfolded")),
)  # fmt: skip
_GRAMMAR = tuple((re.compile(pattern), make) for pattern, make in _FORMS)
