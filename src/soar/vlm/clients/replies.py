"""Readers of replies as P(yes): from typed answers, log-probabilities, JSON, or plain words.

Pure functions over decoded JSON. An unreadable answer is None, never a guess: a refusal, a missing answer, a number
out of range, or a sentence with both yes and no.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from soar.types import Answer, Question
from soar.utils.files import Json

_YES = frozenset({"yes", "true", "y"})
_NO = frozenset({"no", "false", "n"})
_LEAST_MASS = 0.5
"""Least joint probability of yes and no for their ratio to count."""
_RAW_CHARACTERS = 300


def read_decisions(reply: Json, questions: Sequence[Question]) -> list[Answer]:
    """Read a reply of `/decisions`: by names ("q0", "q1"...) if there are any, else by order if none is missing."""
    found = _get(reply, "answers", list, [])
    named = {n: a for a in found if isinstance(n := _get(a, "name", str, None), str)}
    if not named and len(found) == len(questions):
        named = {f"q{i}": a for i, a in enumerate(found)}
    return [
        Answer(q, probability(_get(named.get(f"q{i}"), "probability", object, None)), raw)
        for i, q in enumerate(questions)
        for raw in [_shorten(named.get(f"q{i}"))]
    ]


def read_systemone(reply: Json, questions: Sequence[Question]) -> list[Answer]:
    """Read a reply of `/v1/systemone`: answers of type "noul" by their names "q0", "q1"..."""
    found = _get(reply, "answers", dict, {})
    return [
        Answer(q, probability(_get(answer, "noul", object, None)), _shorten(answer))
        for i, q in enumerate(questions)
        for answer in [found.get(f"q{i}")]
    ]


def read_chat(reply: Json, questions: Sequence[Question]) -> list[Answer]:
    """Read a chat completion: one answer in words, or several as a JSON object "1": "yes"..."""
    choice = next(iter(_get(reply, "choices", list, [])), None)
    message = _get(choice, "message", dict, {})
    text = _get(message, "content", str, None)
    if text is None or _get(message, "refusal", str, ""):
        return [Answer(q, None, _shorten(message or reply)) for q in questions]
    tokens = _get(_get(choice, "logprobs", dict, {}), "content", list, [])
    spans = _answer_spans(text, len(questions))
    return [
        Answer(q, _p_yes(text, span, tokens), _shorten(text))
        for q, span in zip(questions, spans, strict=True)
    ]


def read_text(reply: Json) -> str:
    """Return the text of a chat completion; "" if it has none."""
    choice = next(iter(_get(reply, "choices", list, [])), None)
    return str(_get(_get(choice, "message", dict, {}), "content", str, ""))


def probability(value: Json) -> float | None:
    """Return a number from 0 to 1; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value <= 1 else None


def yes_or_no(text: str) -> bool | None:
    """Return the answer of a sentence: its first word, else the only one of yes and no in it."""
    words = re.findall(r"[a-z']+", text.lower())
    answers = [w in _YES for w in words if w in _YES | _NO]
    if words[:1] and words[0] in _YES | _NO:
        return answers[0]
    return answers[0] if len(set(answers)) == 1 and len(words) <= 40 else None


def _answer_spans(text: str, count: int) -> list[tuple[int, int] | None]:
    """Span of each question's answer in the text: in JSON, in numbered lines, or all of it for one question."""
    values = _json_values(text)
    if values is None:
        lines = {int(m[1]): m.span(2) for m in re.finditer(r"(?m)^\W*(\d+)[.):\s]+(.*)$", text)}
        values = lines if count > 1 else {1: (0, len(text))}
    return [values.get(i + 1) for i in range(count)]


def _json_values(text: str) -> dict[int, tuple[int, int]] | None:
    """Spans of the values of the first flat JSON object with numbers for keys; None if there is no such object."""
    match = re.search(r"\{[^{}]*\}", text)
    if match is None:
        return None
    try:
        found = json.loads(match[0])
    except json.JSONDecodeError:
        return None
    pairs = re.finditer(r'"(\d+)"\s*:\s*"?(\w+)"?', match[0])
    start = match.start()
    spans = {int(p[1]): (start + p.start(2), start + p.end(2)) for p in pairs}
    return {n: s for n, s in spans.items() if str(n) in found}


def _p_yes(text: str, span: tuple[int, int] | None, tokens: Sequence[Json]) -> float | None:
    """P(yes) of the answer at `span`: from its token's alternatives if they are known, else 0 or 1."""
    answer = None if span is None else yes_or_no(text[span[0] : span[1]])
    if span is None or answer is None:
        return None
    start = 0
    for token in tokens:
        piece = _get(token, "token", str, "")
        if start + len(piece) > span[0] and _word(piece) in _YES | _NO:
            known = _share_of_yes(_get(token, "top_logprobs", list, []))
            return float(answer) if known is None else known
        start += len(piece)
        if start >= span[1]:
            break
    return float(answer)


def _share_of_yes(alternatives: Sequence[Json]) -> float | None:
    """Probability of yes among yes and no, from a token's alternatives; None if these are other words."""
    mass = {True: 0.0, False: 0.0}
    for alternative in alternatives:
        word = _word(_get(alternative, "token", str, ""))
        logprob = _get(alternative, "logprob", int | float, -math.inf)
        if word in _YES | _NO:
            mass[word in _YES] += math.exp(min(0.0, logprob))
    total = mass[True] + mass[False]
    return mass[True] / total if total >= _LEAST_MASS and math.isfinite(total) else None


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
