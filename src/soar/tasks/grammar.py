"""From a task in words to the yes/no question that tells whether it is done (paper, B.1.1, Table 3).

A small grammar for the field's usual forms, and no model. What it can't read, `soar.tasks.question_file`
gives to a language model; what a question is made of, `soar.tasks.questions` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias, cast

from soar.errors import ConfigError
from soar.types import Task

FORMS = (
    "put the X in|on the Y",
    "remove|take the X from|out of|off the Y [and put it on the table]",
    "move the X to the left|right [side]",
    "move the X from the Y to the Z",
    "open|close the X",
    "fold|unfold the X",
)
"""The instructions that need no language model."""

SURFACES = frozenset(
    [
        "board",
        "cloth",
        "counter",
        "lid",
        "mat",
        "napkin",
        "plate",
        "saucer",
        "shelf",
        "stove",
        "table",
        "towel",
        "tray",
    ]
)
"""Things that other things lie *on*; everything else holds them *in*."""

_Parts: TypeAlias = dict[str, str]
_Maker: TypeAlias = Callable[[str, _Parts], Task]


def task_from_instruction(instruction: str) -> Task:
    """The task behind an instruction of the usual forms, with the question that tells when it is done.

    Raises:
        ConfigError: the instruction has none of the forms in `FORMS`.
    """
    text = _plain(instruction)
    for pattern, make in _GRAMMAR:
        if match := pattern.fullmatch(text):
            return make(
                instruction, {k: noun_phrase(v or "") for k, v in match.groupdict().items()}
            )
    raise ConfigError(
        f"no question known for the task '{instruction}': write its question into the question file,"
        f" or use one of the forms {'; '.join(FORMS)}"
    )


Skill: TypeAlias = Literal["put", "take out", "left", "right", "open", "close", "fold", "unfold"]
"""Tasks that are one grasp and one release: of a thing, into a container, out of it, or to one side of the table; of a
drawer's handle; of a cloth's hem."""


def skill_of(instruction: str) -> Skill | None:
    """Which of these an instruction asks for; None for others, and for words that no form fits."""
    text = _plain(instruction)
    for pattern, make in _GRAMMAR:
        if match := pattern.fullmatch(text):
            return cast(Skill, match["side"]) if make is _aside else _MANNERS.get(make)
    return None


def present_question(thing: str) -> str:
    """The question that asks whether a thing is there at all (the reset detector's)."""
    return f"Is there {_with_article(thing)} present?"


def questions_of(tasks: Iterable[Task]) -> tuple[str, ...]:
    """Every question one look at a scene has to answer: one a task, one an object, none twice."""
    tasks = tuple(tasks)
    asked = [t.question for t in tasks] + [present_question(o) for t in tasks for o in t.objects]
    return tuple(dict.fromkeys(asked))


def success_probability(task: Task, p_yes: float) -> float:
    """P(done) from P(yes): some tasks are done when the answer is no."""
    return p_yes if task.success_answer else 1.0 - p_yes


def noun_phrase(text: str) -> str:
    """The noun phrase without its article."""
    return re.sub(r"^(the|a|an|any|some|your|my|this|that) ", "", text.strip())


def preposition(container: str) -> str:
    """ "on" for a plate or a cloth, "in" for everything with walls."""
    return "on" if container.split()[-1:] and container.split()[-1] in SURFACES else "in"


def _plain(instruction: str) -> str:
    return re.sub(r"\s+", " ", instruction).strip().rstrip("?.! ").lower()


def _is_plural(noun: str) -> bool:
    return noun.endswith("s") and not noun.endswith("ss")


def _with_article(noun: str) -> str:
    if _is_plural(noun):
        return f"any {noun}"
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"


def is_the(thing: str) -> str:
    """ "Is the block", "Are the scissors"."""
    return f"{'Are' if _is_plural(thing) else 'Is'} the {thing}"


def _put(instruction: str, part: _Parts) -> Task:
    thing, container = part["thing"], part["container"]
    question = f"{is_the(thing)} {preposition(container)} the {container}?"
    return Task(instruction, question, True, (thing, *_unless_table(container)))


def _remove(instruction: str, part: _Parts) -> Task:
    """Done when the thing is out of its container; a goal other than the table must be reached too."""
    thing, container, goal = part["thing"], part["container"], part.get("goal") or "table"
    place = container if goal in ("table", "side") else goal
    question = f"{is_the(thing)} {preposition(place)} the {place}?"
    objects = (thing, *_unless_table(container), *_unless_table(goal))
    return Task(instruction, question, place == goal, objects)


def _unless_table(place: str) -> tuple[str, ...]:
    """The table is always there: nobody asks whether it is present."""
    return () if place in ("table", "side") else (place,)


def _aside(instruction: str, part: _Parts) -> Task:
    question = f"{is_the(part['thing'])} on the {part['side']} side of the table?"
    return Task(instruction, question, True, (part["thing"],))


def _state(words: str) -> _Maker:
    def make(instruction: str, part: _Parts) -> Task:
        return Task(instruction, f"{is_the(part['thing'])} {words}?", True, (part["thing"],))

    return make


_open, _close, _fold, _unfold = map(_state, ("open", "closed", "folded", "unfolded"))

_TO_THE_SIDE = (
    r" (to|on|onto|towards?) (the )?(?P<side>left|right)( hand)?( side| half)?( of the table)?"
)
_INTO = r" (in|into|inside|inside of|on|onto|on top of|to) "
_OUT_OF = r" (from inside of|from inside|from on top of|from|out of|off of|off) "
_AND_PUT = (
    r"( and (put|place|set|drop) (it|them) (in|into|inside|on|onto|on top of|to) (?P<goal>.+))?"
)

_FORMS: tuple[tuple[str, _Maker], ...] = (
    (rf"(move|put|place|push|slide|drag|bring) (?P<thing>.+?){_TO_THE_SIDE}", _aside),
    (r"move (?P<thing>.+?) from (?P<container>.+?) (to|onto|into) (?P<goal>.+)", _remove),
    (rf"(remove|take|get|pick up|pick|lift) (?P<thing>.+?){_OUT_OF}(?P<container>.+?){_AND_PUT}", _remove),
    (rf"(put|place|drop|set|lay|move|bring) (?P<thing>.+?){_INTO}(?P<container>.+)", _put),
    (rf"(pick up|take|grab|lift) (?P<thing>.+?) and (put|place|drop|set) (it|them){_INTO}(?P<container>.+)", _put),
    (r"(open|pull open) (?P<thing>.+)", _open),
    (r"pull (?P<thing>.+) open", _open),
    (r"(close|shut) (?P<thing>.+)", _close),
    (r"push (?P<thing>.+) (closed|shut)", _close),
    (r"fold (?P<thing>.+?)( (from|in|over|up|to) .*)?", _fold),
    (r"(unfold|flatten|spread out|spread) (?P<thing>.+?)( (from|out|flat|to)( .*)?)?", _unfold),
)  # fmt: skip
_MANNERS: dict[_Maker, Skill] = {
    _put: "put", _remove: "take out",
    _open: "open", _close: "close", _fold: "fold", _unfold: "unfold",
}  # fmt: skip
_GRAMMAR = tuple((re.compile(pattern), make) for pattern, make in _FORMS)
