"""Comparison of the words around a yes or no with the question that was asked, and with the answer.

Each clause is compared with the question's parts: its object, its container or state, and how it relates them. "The
lemon is on the table" speaks for "no" to "Is the lemon on the plate?", "the lemon is on the plate" for "yes", and "it's
raining" is about something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from soar.tasks.noun_phrases import head
from soar.tasks.questions import parse_question
from soar.types import Question

Evidence: TypeAlias = Literal["yes", "no", "topic", "other"]
"""Answer that a clause speaks for; "topic" is about the question's things but for neither, "other" isn't about them."""

_LONGEST_TEXT, _LONGEST_CLAUSE = 4000, 300
"""Most characters of the words beside an answer, and of one clause, that are compared with the question."""
_COLORS = frozenset(
    [
        "red",
        "orange",
        "yellow",
        "green",
        "blue",
        "purple",
        "violet",
        "pink",
        "brown",
        "black",
        "white",
        "gray",
        "grey",
        "golden",
        "silver",
        "wooden",
        "metal",
        "plastic",
        "transparent",
        "big",
        "small",
        "large",
        "little",
    ]
)
_STATES = {
    "open": r"open(?! (?:source|to|for|question|minded|book)|-)|opened|ajar|extended|(?:pulled|slid|sticking) "
    r"(?:\w+ )?out",
    "closed": r"closed|shut|flush|(?:pushed|slid) (?:\w+ )?in",
    "folded": r"folded",
    "unfolded": r"unfolded|flat|unfurled|(?:spread|laid|laying) out",
}
_OPPOSITE = {"open": "closed", "closed": "open", "folded": "unfolded", "unfolded": "folded",
             "left": "right", "right": "left"}  # fmt: skip
_SIDE = r"(?:on|to|at|in|toward|towards) (?:the|its) (?:far |lower |upper )?{}\b"
_INTO = (
    r"(?:(?:in|inside|within|on|onto|into|atop|upon)(?: of| top of)?"
    r"|(?:in|on|at|near) (?:the|its) (?:very )?(?:center|centre|middle|edge|rim|surface|bottom|inside|interior|top) of)"
)
_BY = (
    r"(?:beside|next to|near|nearby|outside(?: of)?|under|underneath|below|beneath|behind|in front of|above|over"
    r"|off(?: of)?|away from|from|to|toward|towards|(?:left|right) of|by|against|around|between|close to|adjacent to"
    r"|alongside|past|beyond|at)"
)
_SCENE = (
    r"(?:table|tabletop|tablecloth|countertop|counter|desk|bench|workbench|surface|platform|board"
    r"|cutting board|shelf|stove|floor"
    r"|ground|rack|tray|mat|cloth|towel|napkin|plate|bowl|dish|pot|pan|cup|mug|glass|jar|can|box|basket|bin"
    r"|bucket|container"
    r"|drawer|sink|cabinet|gripper|hand|fingers?|jaws?|robot|arm|claw|spoon|fork|knife|spatula|side|edge"
    r"|corner|center|middle"
    r"|left|right|front|rim|block|cube|object)"
)
_ANY_PLACE = re.compile(
    rf"\b(?:{_INTO}|{_BY}|held by|held in) (?:the|a|an|its|another|one|some) (?:[\w-]+ ){{0,2}}?{_SCENE}\b"
)
_FOLLOWS = (
    r"(?=$|'s?\b|'|\W*$| (?:is|are|isn't|aren't|has|have|hasn't|haven't|does|doesn't|do|don't|contains|holds"
    r"|lies|sits|rests"
    r"|lays|stands|remains|stays|sticks|touches|in|inside|within|on|onto|into|atop|upon|at|beside|next|near"
    r"|nearby|outside"
    r"|under|underneath|below|beneath|behind|over|above|off|away|from|to|toward|towards|left|right|by|against"
    r"|around|between"
    r"|close|adjacent|alongside|past|that|which|there|here|present|visible|placed|located|lying|sitting"
    r"|resting|positioned"
    r"|standing|held|grasped|not|currently|now|still|already|with|of|across|\w+ly|only|nor|or|either|anywhere|isnt)\b)"
)
"""Words that may follow a noun that is itself the thing, unlike "lemon" in "the lemon tree"."""
_NEGATED = re.compile(
    r"\b(?:not|no|none|nothing|never|nowhere|neither|without|fail\w*|lack\w*|absent)\b|n't\b"
)
_CLAUSE_ENDS = re.compile(
    r"[.!?;:,\n—–()]+|\s-\s|\b(?:and|but|while|whereas|because|since|as|so)\b"
)
_BARE = re.compile(
    r"(?:(?:it|they|there|this|that|he|she|one) ?(?:is|are|'s|'re|does|do|has|isn't|aren't|doesn't|is not|are not"
    r"|'s not|'re not)|that(?: is|'s) correct|correct)"
)
_SUBJECT = r"\b(?:it|its|it's|they|they're)\b"
_ANSWER = re.compile(r"\banswer\s?(?:is|:)\s{0,4}(yes|no|true|false)\b")


@dataclass(frozen=True)
class _Noun:
    """A noun phrase of the question: its last word, and the words before it."""

    head: str
    modifiers: frozenset[str]

    @property
    def _pattern(self) -> str:
        return rf"(?P<before>(?:\b[\w-]+ )?)\b{re.escape(self.head)}{_FOLLOWS}"

    def positions(self, clause: str) -> Iterator[int]:
        """Places at which the clause names it; not another one of its kind, such as a red block for a green one."""
        for match in re.finditer(self._pattern, clause):
            if not self._is_another(match["before"].strip()):
                yield match.start()

    def named(self, clause: str) -> bool:
        """Whether the clause names it."""
        return next(self.positions(clause), None) is not None

    def another(self, clause: str) -> bool:
        """Whether the clause names another one of its kind."""
        found = re.finditer(rf"\b([\w-]+) {re.escape(self.head)}\b", clause)
        return any(self._is_another(m[1]) for m in found)

    def _is_another(self, word: str) -> bool:
        return bool(self.modifiers & _COLORS) and word in _COLORS and word not in self.modifiers


class Topic:
    """A question's parts, with which the clauses of a reply are compared."""

    def __init__(self, question: Question) -> None:
        parsed = question if question.kind != "other" else _parsed(question.text)
        self._kind = parsed.kind
        self._object = _noun(parsed.object)
        self._container = _noun("table" if parsed.kind == "table" else parsed.container)
        self._words = _content_words(question.text)

    def evidence(self, clause: str) -> Evidence:
        """Return the answer that one clause in lower case speaks for."""
        clause = clause.strip()
        if len(clause) > _LONGEST_CLAUSE:
            return "other"
        if match := _ANSWER.search(clause):
            return "yes" if match[1] in ("yes", "true") else "no"
        negated = bool(_NEGATED.search(clause))
        if _BARE.fullmatch(clause):
            return "no" if negated else "yes"
        if self._kind in ("in", "table"):
            return self._of_place(clause, negated)
        if self._kind in ("left", "right"):
            return self._of_side(clause, negated)
        if self._kind in _STATES:
            return self._of_state(clause, negated)
        if self._kind == "present":
            return self._of_presence(clause, negated)
        return self._of_words(clause, negated)

    def begins(self, clause: str) -> bool:
        """Whether an unfinished clause has no words but the question's and function words."""
        words = re.findall(r"[^\W\d_]+", clause)
        return all(w in _FUNCTION_WORDS or w == "s" or _stem(w) in self._words for w in words)

    def _of_place(self, clause: str, negated: bool) -> Evidence:
        """Evidence on whether the object is in or on the container."""
        object, container = self._object, self._container
        assert object is not None
        about = object.named(clause)
        by_pronoun = not about and not object.another(clause) and bool(re.match(_SUBJECT, clause))
        if container is None:
            return "topic" if about else "other"
        places = list(container.positions(clause))
        if places and re.search(r"\b(?:empty|vacant|bare)\b", clause):
            return "other" if negated else "no"
        if places and re.search(rf"\b(?:{container.head}) (?:contains|holds|has)\b", clause):
            return _signed(about, negated) if about else "topic"
        relation = _relation(clause, container)
        start = re.match(rf"(?:{_NEGATED.pattern})? ?(?:{_INTO})\b", clause) and not re.search(
            r"\b(?:is|are|lies|sits|rests)\b", clause
        )
        if relation == "beside" and (about or by_pronoun or start):
            return "other" if negated else "no"
        if relation == "in" and (about or by_pronoun or start or _no_thing(clause)):
            return _signed(True, negated)
        if relation == "in" and re.search(r"\bonly\b", clause):
            return "other" if negated else "no"
        if relation is None and (about or by_pronoun) and not negated:
            elsewhere = _ANY_PLACE.search(clause)
            if elsewhere and not re.search(rf"\bof (?:the|a|its) .*{container.head}", clause):
                return "no"
        return "topic" if about or places else "other"

    def _of_side(self, clause: str, negated: bool) -> Evidence:
        if not self._is_subject(clause, r"\b(?:on|to|at|in|toward|towards)\b"):
            return "other"
        wanted = re.search(_SIDE.format(self._kind), clause)
        opposite = re.search(_SIDE.format(_OPPOSITE[self._kind]), clause)
        if wanted and not opposite:
            return _signed(True, negated)
        return "no" if opposite and not wanted and not negated else "topic"

    def _of_state(self, clause: str, negated: bool) -> Evidence:
        same, opposite = _STATES[self._kind], _STATES[_OPPOSITE[self._kind]]
        if not self._is_subject(clause, rf"\b(?:{same}|{opposite})\b"):
            return "topic" if self._object and self._object.named(clause) else "other"
        is_same, is_opposite = (re.search(rf"\b(?:{p})\b", clause) for p in (same, opposite))
        if is_same and not is_opposite:
            return _signed(True, negated)
        return _signed(False, negated) if is_opposite and not is_same else "topic"

    def _of_presence(self, clause: str, negated: bool) -> Evidence:
        assert self._object is not None
        if self._object.named(clause):
            exists = re.search(
                r"\b(?:there|see|shows?|present|visible|is|are|has|contains|there's)\b|'s\b", clause
            )
            return _signed(True, negated) if exists else "topic"
        return "no" if self._object.another(clause) and re.search(r"\bonly\b", clause) else "other"

    def _of_words(self, clause: str, negated: bool) -> Evidence:
        """Evidence on a question of no known form: the clause says its last word about its things."""
        if not self._words:
            return "other"
        said = {_stem(w) for w in re.findall(r"[^\W\d_]+", clause)}
        named = [w for w in self._words if w in said]
        if self._words[-1] in named and (len(named) > 1 or re.match(_SUBJECT, clause)):
            every = len(named) == len(self._words) or bool(re.match(_SUBJECT, clause))
            return _signed(True, negated) if every else "topic"
        return "topic" if named else "other"

    def _is_subject(self, clause: str, predicate: str) -> bool:
        """Whether the object, or a pronoun, stands before the predicate."""
        found = re.search(predicate, clause)
        if not found or not self._object:
            return False
        if re.match(rf"(?:not )?{_SUBJECT}", clause):
            return not self._object.another(clause)
        return any(p < found.start() for p in self._object.positions(clause))


def agrees(text: str, yes: bool, topic: Topic, whole: bool = True) -> bool:
    """Whether text in lower case that follows an answer speaks for it, not against it, before leaving the topic.

    Args:
        text: words after the answer.
        yes: the answer.
        topic: the question.
        whole: False for a text that was cut off; then its end may say nothing yet.
    """
    if len(text) > _LONGEST_TEXT:
        return False
    clauses = _clauses(text)
    if not whole and clauses and topic.begins(clauses[-1]):
        clauses.pop()
        if not clauses:
            return True
    found = [topic.evidence(c) for c in clauses]
    signed = [e for e in found if e in ("yes", "no")]
    if set(signed) != {"yes" if yes else "no"}:
        return False
    return "other" not in found[: found.index(signed[0])]


def concludes(text: str, yes: bool, topic: Topic) -> bool:
    """Whether the last clause of text in lower case that speaks for an answer speaks for this one."""
    signed = _signed_clauses(text, topic)
    return bool(signed) and signed[-1] == ("yes" if yes else "no")


def contradicts(text: str, yes: bool, topic: Topic) -> bool:
    """Whether the last clause of text that speaks for an answer speaks for the other one."""
    return concludes(text, not yes, topic)


def _signed_clauses(text: str, topic: Topic) -> list[Evidence]:
    return [e for c in _clauses(text[-_LONGEST_TEXT:]) if (e := topic.evidence(c)) in ("yes", "no")]


def _clauses(text: str) -> list[str]:
    return [c.strip() for c in _CLAUSE_ENDS.split(text) if c.strip()]


def _parsed(text: str) -> Question:
    """The question with its parts; a side of another object counts as a side."""
    parsed = parse_question(text)
    if parsed.kind != "other":
        return parsed
    plain = text.lower().rstrip("? .")
    side = re.fullmatch(
        r"(?:is|are) the (?P<o>[\w ]+?) (?:to|on|at) the (?P<s>left|right)(?: hand)?(?: side)? of the [\w ]+",
        plain,
    )
    if side and side["s"] in ("left", "right"):
        return Question(text, "left" if side["s"] == "left" else "right", object=side["o"])
    return parsed


def _noun(phrase: str) -> _Noun | None:
    last = head(phrase.lower())
    words = re.findall(r"[\w'-]+", phrase.lower())
    return _Noun(last, frozenset(words) - {last}) if last else None


def _relation(clause: str, container: _Noun) -> Literal["in", "beside"] | None:
    """The preposition that stands before the container: one of containment, or another one."""
    place = rf"(?:the |a |an |its |this |that )?(?:[\w-]+ ){{0,2}}?{re.escape(container.head)}\b"
    for start in container.positions(clause):
        stop = start + re.search(rf"{re.escape(container.head)}\b", clause[start:]).end()  # type: ignore[union-attr]
        if clause[stop:].startswith("'s"):
            continue
        before = clause[:stop]
        near = re.search(rf"(?:^|.*\b)(?P<by>{_BY}) {place}$", before)
        into = re.search(rf"(?:^|.*\b)(?P<into>{_INTO}) {place}$", before)
        if near and (not into or near.start("by") >= into.start("into")):
            return "beside"
        if into:
            return "in"
    return None


def _no_thing(clause: str) -> bool:
    return bool(re.search(r"\b(?:nothing|not anything)\b|n't anything", clause))


def _signed(yes: bool, negated: bool) -> Evidence:
    return "yes" if yes != negated else "no"


_FUNCTION_WORDS = frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "the",
        "a",
        "an",
        "of",
        "in",
        "on",
        "at",
        "to",
        "and",
        "or",
        "not",
        "any",
        "there",
        "it",
        "its",
        "this",
        "that",
        "these",
        "those",
        "do",
        "does",
        "did",
        "has",
        "have",
        "been",
        "be",
        "now",
        "currently",
        "still",
        "already",
        "from",
        "with",
        "by",
        "for",
        "into",
        "onto",
    ]
)


def _content_words(text: str) -> list[str]:
    words = [w for w in re.findall(r"[^\W\d_]+", text.lower()) if w not in _FUNCTION_WORDS]
    return [_stem(w) for w in words]


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
