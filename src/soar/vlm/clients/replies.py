"""Readers of replies as P(yes): from typed answers, log-probabilities, JSON, or plain words.

Pure functions over decoded JSON. An unreadable answer is None, never a guess: a refusal, a missing answer, a number
out of range, words that are no sure answer (`words`), or a yes and no that hold little of the probability.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from soar.errors import ConfigError
from soar.types import Answer, Question, Source
from soar.utils.files import Json
from soar.vlm.clients.words import (
    NO,
    YES,
    Found,
    doubtful,
    final_part,
    find_answer,
    mentions_answer,
    opposes,
    supports,
    too_long,
)

_WORDS = {"yes": True, "true": True, "no": False, "false": False}
_NUMBER = re.compile(r"[0-9]{1,4}")
_OBJECT = re.compile(r'\{[^{}"]*"[^{}]*\}')
_UNCLOSED = re.compile(r'\{\s{0,20}"')
_LINE = re.compile(r"[ \t*_#>-]{0,12}([0-9]{1,4})[ \t*_]{0,4}[.):][ \t]{0,8}")
LEAST_MASS = 0.5
"""Least joint probability of yes and no for their ratio to count, unless a client is told another one."""
_MOST_MASS = 1.01
"""Most joint probability of all alternatives, with rounding."""
_LEAST_CONFIDENCE = 0.5
"""Least number beside an answer that leaves it standing; percentages are divided by 100."""
_RAW_CHARACTERS = 300


def check_mass(least: float) -> None:
    """Refuse a least joint probability of yes and no outside of [0, 1]. Raises ConfigError."""
    if not 0 <= least <= 1:
        raise ConfigError(f"least_mass must lie between 0 and 1, not {least}")


def read_decisions(reply: Json, questions: Sequence[Question]) -> list[Answer]:
    """Read a reply of `/decisions`: by names ("q0", "q1"...) if there are any, else by order if none is missing."""
    found = _get(reply, "answers", list, [])
    named = {n: a for a in found if isinstance(n := _get(a, "name", str, None), str)}
    if not named and len(found) == len(questions):
        named = {f"q{i}": a for i, a in enumerate(found)}
    return [
        Answer(
            q,
            probability(_get(named.get(f"q{i}"), "probability", object, None)),
            raw,
            "probability",
        )
        for i, q in enumerate(questions)
        for raw in [_shorten(named.get(f"q{i}"))]
    ]


def read_systemone(reply: Json, questions: Sequence[Question]) -> list[Answer]:
    """Read a reply of `/v1/systemone`: answers of type "noul" by their names "q0", "q1"..."""
    found = _get(reply, "answers", dict, {})
    return [
        Answer(q, probability(_get(answer, "noul", object, None)), _shorten(answer), "probability")
        for i, q in enumerate(questions)
        for answer in [found.get(f"q{i}")]
    ]


class Said(NamedTuple):
    """The text of a chat completion."""

    text: str | None
    """None for a refusal or no text."""
    whole: bool
    """False if it was cut off."""
    raw: str
    """The reply for a person to read."""
    tokens: list[Json]
    """The text's tokens with their alternatives; empty without log-probabilities."""


def read_said(reply: Json) -> Said:
    """Read the first choice of a chat completion."""
    choice = next(iter(_get(reply, "choices", list, [])), None)
    message = _get(choice, "message", dict, {})
    text = _get(message, "content", str, None)
    ending = _get(choice, "finish_reason", str, "stop")
    whole = ending not in ("length", "max_tokens")
    if text is None or _get(message, "refusal", str, "") or ending == "content_filter":
        return Said(None, whole, _shorten(message or reply), [])
    tokens = _get(_get(choice, "logprobs", dict, {}), "content", list, [])
    return Said(text, whole, _shorten(text), tokens)


def read_chat(
    reply: Json, questions: Sequence[Question], least_mass: float = LEAST_MASS
) -> list[Answer]:
    """Read a chat completion: one answer in words, or several as a JSON object "1": "yes"...

    Args:
        reply: decoded JSON.
        questions: questions that were asked.
        least_mass: joint probability of yes and no below which an answer is unknown.
    """
    said = read_said(reply)
    if said.text is None:
        return [Answer(q, None, said.raw) for q in questions]
    found = _answers(said.text, questions, said.whole)
    return [Answer(q, *_p_yes(said, found.get(i), least_mass)) for i, q in enumerate(questions, 1)]


def read_text(reply: Json) -> str:
    """Return the text of a chat completion; "" if it has none."""
    choice = next(iter(_get(reply, "choices", list, [])), None)
    return str(_get(_get(choice, "message", dict, {}), "content", str, ""))


def probability(value: Json) -> float | None:
    """Return a number from 0 to 1; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= 1 else None


def _answers(text: str, questions: Sequence[Question], whole: bool) -> dict[int, Found]:
    """Answers by the questions' numbers: from JSON, from numbered lines, or from the words for one question."""
    if too_long(text):
        return {}
    start, stop = final_part(text)
    said = text[start:stop]
    found = _from_json(said, questions, whole)
    if found is None and len(questions) > 1:
        found = _from_lines(said, questions, whole)
    if found is None and len(questions) == 1:
        answer = find_answer(said, questions[0], whole)
        found = {1: answer} if answer else {}
    return {n: Found(a.yes, start + a.start, start + a.stop) for n, a in (found or {}).items()}


def _from_json(text: str, questions: Sequence[Question], whole: bool) -> dict[int, Found] | None:
    """Answers of the last flat JSON object; None if the text has no such object."""
    objects = [m for m in _OBJECT.finditer(text) if _pairs(m[0])]
    if not objects:
        return {} if _UNCLOSED.search(text) else None
    last = objects[-1]
    before, after = text[: last.start()], text[last.end() :]
    pieces = _pieces(text, objects)
    if (
        "{" in after
        or mentions_answer(after)
        or doubtful(" ".join(pieces))
        or any(piece.strip(" \n`,").lower() == "or" for piece in pieces)
        or not (whole or not re.search(r"\w", before.replace("json", "")))
    ):
        return {}
    found, beside = _from_pairs(_pairs(last[0]) or [], len(questions))
    if any(not _is_sure(beside, " ".join(pieces), yes, questions) for yes in found.values()):
        return {}
    return {
        number: Found(yes, *_span(last[0], last.start(), number, yes))
        for number, yes in found.items()
    }


def _from_pairs(
    pairs: Sequence[tuple[str, Json]], count: int
) -> tuple[dict[int, bool], list[Json]]:
    """Answers by number without conflicting ones, and the values that are no answers."""
    answers: dict[int, set[bool | None]] = {}
    beside: list[Json] = []
    for name, value in pairs:
        number = int(name) if _NUMBER.fullmatch(name) else int(name.strip().lower() == "answer")
        if 1 <= number <= count:
            word = str(value).strip().lower() if isinstance(value, str | bool) else ""
            answers.setdefault(number, set()).add(_WORDS.get(word))
        elif not _NUMBER.fullmatch(name):
            beside.append(value)
    sure = {n: next(iter(a)) for n, a in answers.items() if len(a) == 1}
    return {n: a for n, a in sure.items() if a is not None}, beside


def _is_sure(beside: Sequence[Json], around: str, yes: bool, questions: Sequence[Question]) -> bool:
    """Whether what stands beside an answer of a JSON object (a reason, a confidence) leaves it standing."""
    for value in beside:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return False
        if not isinstance(value, str):
            if not _LEAST_CONFIDENCE <= (value / 100 if value > 1 else value) <= 1:
                return False
        elif doubtful(value) or (
            len(questions) == 1 and value.strip() and not supports(value, yes, questions[0])
        ):
            return False
    return len(questions) > 1 or not opposes(around, yes, questions[0])


def _span(text: str, offset: int, number: int, yes: bool) -> tuple[int, int]:
    """Span of an answer's word in an object's text."""
    words = "|".join(w for w, meaning in _WORDS.items() if meaning is yes)
    place = re.search(
        rf'"\s{{0,9}}(?:0{{0,3}}{number}|answer)\s{{0,9}}"\s{{0,9}}:\s{{0,9}}"?\s{{0,9}}({words})\b',
        text,
        re.IGNORECASE,
    )
    start, stop = place.span(1) if place else (0, 0)
    return offset + start, offset + stop


def _pieces(text: str, objects: Sequence[re.Match[str]]) -> list[str]:
    """The text between objects."""
    edges = [0, *(e for m in objects for e in m.span()), len(text)]
    return [text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _pairs(text: str) -> list[tuple[str, Json]] | None:
    """Names and values of a flat JSON object; None if it isn't one."""
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    return pairs if isinstance(pairs, list) else None


def _from_lines(text: str, questions: Sequence[Question], whole: bool) -> dict[int, Found]:
    """Answers of numbered lines; a number with two answers has none."""
    found: dict[int, Found] = {}
    conflicting = set()
    lines = text.splitlines(keepends=True)
    starts = itertools.accumulate(map(len, lines), initial=0)
    for i, (line, start) in enumerate(zip(lines, starts, strict=False)):
        match = _LINE.match(line)
        if match:
            number, offset = int(match[1]), match.end()
            if not 1 <= number <= len(questions):
                continue
            complete = whole or i + 1 < len(lines)
            answer = find_answer(line[offset:].rstrip(), questions[number - 1], complete)
            if answer is None or (number in found and found[number].yes is not answer.yes):
                conflicting.add(number)
            else:
                at = start + offset
                found[number] = Found(answer.yes, at + answer.start, at + answer.stop)
    return {n: a for n, a in found.items() if n not in conflicting}


def _p_yes(said: Said, answer: Found | None, least_mass: float) -> tuple[float | None, str, Source]:
    """P(yes) of an answer, the reply and the origin: its token's alternatives if they are known, else its word."""
    if answer is None:
        return None, said.raw, "word"
    start = 0
    for token in said.tokens:
        if start >= answer.stop:
            break
        piece = _get(token, "token", str, "")
        if start + len(piece) > answer.start and _word(piece) in YES | NO:
            alternatives = _get(token, "top_logprobs", list, [])
            if alternatives:
                return _share_of_yes(alternatives, least_mass), said.raw, "probability"
            mass = _probability_of(token, 0.0)
            known = mass is not None and mass >= least_mass
            return float(answer.yes) if known else None, said.raw, "word"
        start += len(piece)
    return float(answer.yes), said.raw, "word"


def _share_of_yes(alternatives: Sequence[Json], least_mass: float) -> float | None:
    """Probability of yes among yes and no, from a token's alternatives.

    None if most of the probability is on other words, or if one of the log-probabilities is impossible. An answer that
    isn't among the alternatives has at most the probability of the least likely one, and at most what is left.
    """
    mass = {True: 0.0, False: 0.0}
    total, least = 0.0, 1.0
    for alternative in alternatives:
        word = _word(_get(alternative, "token", str, ""))
        p = _probability_of(alternative, None)
        if p is None:
            return None
        total, least = total + p, min(least, p)
        if word in YES | NO:
            mass[word in YES] += p
    known = mass[True] + mass[False]
    if known < least_mass or total > _MOST_MASS:
        return None
    unseen = min(least, max(0.0, 1 - total))
    yes, no = (mass[w] or unseen for w in (True, False))
    return yes / (yes + no)


def _probability_of(token: Json, default: float | None) -> float | None:
    """Probability of a token; the default if it isn't given, None if it is impossible."""
    logprob = _get(token, "logprob", object, default)
    if isinstance(logprob, bool) or not isinstance(logprob, int | float):
        return None
    return math.exp(max(logprob, -800.0)) if -math.inf < logprob <= 0 else None


def _word(token: str) -> str:
    return token.strip(" \n\t\"'.,▁Ġ").lower()


def _get(value: Json, key: str, kind: Any, default: Any) -> Any:
    """`value[key]` if `value` is an object and the entry is of this kind, else the default."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, kind) and found is not None else default


def _shorten(raw: Json) -> str:
    """A reply shortened for a person to read."""
    if raw is None:
        return ""
    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False)
    return text if len(text) <= _RAW_CHARACTERS else text[: _RAW_CHARACTERS - 1] + "…"
