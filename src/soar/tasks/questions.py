"""A yes/no question taken apart into its relation and noun phrases, for models that look for each thing by itself."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias, get_args

from soar.tasks.grammar import noun_phrase

QuestionKind: TypeAlias = Literal[
    "in", "table", "left", "right", "open", "closed", "folded", "unfolded", "present", "other"
]
"""What a question asks about; accuracies are reported for each."""
QUESTION_KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)


class QuestionParts(NamedTuple):
    """ "Is the green block in the bowl?" is kind "in", frame "is it in that?", "green block", "bowl"."""

    kind: QuestionKind
    frame: str
    """The question with pronouns for its noun phrases; the whole question where no form fits."""
    thing: str = ""
    container: str = ""


def parse_question(question: str) -> QuestionParts:
    """The question's relation and noun phrases; kind "other" and the whole question where no form fits."""
    text = re.sub(r"\s+", " ", question).strip().rstrip("?.! ").lower()
    for kind, pattern in _FORMS:
        if match := pattern.fullmatch(text):
            found = {k: v for k, v in match.groupdict().items() if v}
            return QuestionParts(
                _KIND_OF_STATE.get(found.get("state", ""), kind),
                _frame(text, match),
                noun_phrase(found["thing"]),
                noun_phrase(found.get("container", "")),
            )
    return QuestionParts("other", f"{text}?")


def _frame(text: str, match: re.Match[str]) -> str:
    """`text` with pronouns for its noun phrases, replaced from the right so that spans stay valid."""
    pronouns = {"thing": "it", "container": "that"}
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

_PATTERNS: tuple[tuple[QuestionKind, str], ...] = (
    ("in", rf"{_IS}there (?P<thing>.+?) (in|inside|on top of|on) (?P<container>(?!{_SCENE}).+)"),
    ("present", rf"{_IS}there (?P<thing>.+?){_WHERE}"),
    ("present", rf"(can you see|do you see|does the (image|picture) show) (?P<thing>.+?){_WHERE}"),
    ("present", rf"{_IS}(?P<thing>.+?) (present|visible|in view)( (on|in|at) .+)?"),
    ("left", rf"{_IS}(?P<thing>.+?){_NOW} (on|at|to|in) (the )?(?P<state>left|right)( hand)?( side| half| part)?( of {_SCENE})?"),
    ("left", rf"does (?P<thing>.+?) (lie|sit) (on|at|to|in) (the )?(?P<state>left|right)( hand)?( side| half| part)?( of {_SCENE})?"),
    ("open", rf"{_IS}(?P<thing>.+?){_NOW}( fully| completely| pulled| lying| spread out)* (?P<state>open|opened|closed|shut|folded|unfolded|flat)( up| over| in half| on the table)*"),
    ("open", r"has (?P<thing>.+?) been (?P<state>opened|closed|shut|folded|unfolded)( up| over| in half)*"),
    ("table", rf"{_IS}(?P<thing>.+?){_NOW}( directly)? on (the )?(bare )?table(,? (and not|not|instead of) (in|on) (?P<container>.+))?"),
    ("in", rf"{_IS}(?P<thing>.+?){_NOW} (in|inside of|inside|within|on top of|on|onto|into) (?P<container>.+)"),
    ("in", r"(does|do) (?P<thing>.+?) (lie|sit|rest) (in|inside|on top of|on) (?P<container>.+)"),
    ("in", r"does (?P<container>.+?) (contain|hold|have) (?P<thing>.+?)( (in|on|inside) it)?"),
    ("in", r"has (?P<thing>.+?) been (put|placed) (in|into|inside|onto|on top of|on) (?P<container>.+)"),
)  # fmt: skip
_FORMS = tuple((kind, re.compile(pattern)) for kind, pattern in _PATTERNS)
