"""Yes/no questions with their parts: the forms that tasks ask, and the parser of questions in free words.

Questions of tasks are made of their parts (`make_question`), so nothing has to read them again. `parse_question` is
for text from outside: the command line, question files, stored episodes, training corpora.
"""

from __future__ import annotations

import re
from typing import get_args

from soar.tasks.noun_phrases import (
    Preposition,
    is_plural,
    is_related,
    noun_phrase,
    preposition,
    with_article,
)
from soar.types import Question, QuestionKind

QUESTION_KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)

_FORMS: dict[QuestionKind, str] = {
    "in": "{be} {object} {preposition} {container}?",
    "table": "{be} {object} on the table?",
    "left": "{be} {object} on the left side of the table?",
    "right": "{be} {object} on the right side of the table?",
    "open": "{be} {object} open?",
    "closed": "{be} {object} closed?",
    "folded": "{be} {object} folded?",
    "unfolded": "{be} {object} unfolded?",
    "present": "is there {object} present?",
}


def make_question(
    kind: QuestionKind, object: str, container: str = "", on: Preposition | None = None
) -> Question:
    """Return the question of a kind in the words that tasks use.

    Args:
        kind: any but "other".
        object: noun phrase without an article.
        container: noun phrase without an article; for kind "in".
        on: preposition before the container; by default the one that the container's noun takes.
    """
    form, be = _FORMS[kind], "are" if is_plural(object) else "is"
    where = on or preposition(container)
    subject = with_article(object) if kind == "present" else f"the {object}"
    text = form.format(be=be, object=subject, preposition=where, container=f"the {container}")
    frame = form.format(be=be, object="it", preposition=where, container="that")
    named = (object.lower(), container.lower() if kind == "in" else "")
    return Question(text[0].upper() + text[1:], kind, frame, *named)


def present_question(object: str) -> Question:
    """Return the question that asks whether an object is in the scene at all."""
    return make_question("present", object)


def parse_question(text: str) -> Question:
    """Return the question with its parts; kind "other" and no parts for a question of no known form.

    The forms are those of tasks in many wordings. A question that relates an object to a third one ("Is the cup in the
    bowl next to the fork?") has none of them.
    """
    plain = re.sub(r"\s+", " ", text).strip().rstrip("?.! ").lower()
    for kind, pattern in _PATTERNS:
        if match := pattern.fullmatch(plain):
            groups = match.groupdict()
            object = noun_phrase(groups["object"])
            container = noun_phrase(groups.get("container") or "")
            if not is_related(object) and not (container and is_related(container)):
                kind = _KIND_OF_STATE.get(groups.get("state", ""), kind)
                return Question(text, kind, _frame(plain, match), object, container)
    return Question(text)


def _frame(text: str, match: re.Match[str]) -> str:
    """Replace the noun phrases by pronouns, from the right so that spans stay valid."""
    pronouns = {"object": "it", "container": "that"}
    present = [name for name in pronouns if match.groupdict().get(name)]
    for name in sorted(present, key=match.start, reverse=True):
        text = text[: match.start(name)] + pronouns[name] + text[match.end(name) :]
    return f"{text}?"


_KIND_OF_STATE: dict[str, QuestionKind] = {
    "left": "left", "right": "right",
    "open": "open", "opened": "open", "closed": "closed", "shut": "closed",
    "folded": "folded", "unfolded": "unfolded", "flat": "unfolded",
}  # fmt: skip

_IS = r"(is|are) "
_NOW = r"( currently| now| still| already)?( placed| sitting| lying| resting| located)?"
_SCENE = r"(the )?(table|tabletop|image|picture|scene|workspace|photo)"
_WHERE = rf"( somewhere)?( here| there| present| visible| in view| (on|in|at) {_SCENE})*"
_SIDE = rf"(on|at|to|in) (the )?(?P<state>left|right)( hand)?( side| half| part)?( of {_SCENE})?"

_WORDINGS: tuple[tuple[QuestionKind, str], ...] = (
    ("in", rf"{_IS}there (?P<object>.+?) (in|inside|on top of|on) (?P<container>(?!{_SCENE}).+)"),
    ("present", rf"{_IS}there (?P<object>.+?){_WHERE}"),
    ("present", rf"(can you see|do you see|does the (image|picture) show) (?P<object>.+?){_WHERE}"),
    ("present", rf"{_IS}(?P<object>.+?) (present|visible|in view)( (on|in|at) .+)?"),
    ("left", rf"{_IS}(?P<object>.+?){_NOW} {_SIDE}"),
    ("left", rf"does (?P<object>.+?) (lie|sit) {_SIDE}"),
    ("open", rf"{_IS}(?P<object>.+?){_NOW}( fully| completely| pulled| lying| spread out)* "
             r"(?P<state>open|opened|closed|shut|folded|unfolded|flat)( up| over| in half| on the table)*"),
    ("open", r"has (?P<object>.+?) been (?P<state>opened|closed|shut|folded|unfolded)( up| over| in half)*"),
    ("table", rf"{_IS}(?P<object>.+?){_NOW}( directly)? on (the )?(bare )?table"
              r"(,? (and not|not|instead of) (in|on) (?P<container>.+))?"),
    ("in", rf"{_IS}(?P<object>.+?){_NOW} (in|inside of|inside|within|on top of|on|onto|into) (?P<container>.+)"),
    ("in", r"(does|do) (?P<object>.+?) (lie|sit|rest) (in|inside|on top of|on) (?P<container>.+)"),
    ("in", r"does (?P<container>.+?) (contain|hold|have) (?P<object>.+?)( (in|on|inside) it)?"),
    ("in", r"has (?P<object>.+?) been (put|placed) (in|into|inside|onto|on top of|on) (?P<container>.+)"),
)  # fmt: skip
_PATTERNS = tuple((kind, re.compile(pattern)) for kind, pattern in _WORDINGS)
