"""Free-text replies decoded to yes, no or unknown by a language model, as in the paper (B.1.1, Table 4)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from soar.types import Answer, Question
from soar.vlm.clients.words import final_part, find_answer, too_long

_PROMPT = Path(__file__).with_name("decode_prompt.txt")
_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0, "unknown": None}
_LONGEST, _RAW_CHARACTERS = 20_000, 300


class Decoder:
    """Reads replies with a language model, which is not believed if it says more than one of its words."""

    def __init__(self, complete: Callable[[str], str]) -> None:
        """`complete`: the language model, from a prompt to its reply; it may raise ModelUnavailable."""
        self._complete = complete
        self._examples = _PROMPT.read_text(encoding="utf-8")

    def read(self, reply: str, question: Question, whole: bool = True) -> Answer:
        """Return the decoded answer, with the reply and the language model's word.

        It is unknown where the language model says so or says anything unexpected, and where the reply by itself is
        surely the opposite answer.

        Args:
            reply: a VLM's reply in free text.
            question: question that it answers.
            whole: False for a reply that was cut off.

        Raises:
            ModelUnavailable: the language model gave no reply within its time limit.
        """
        raw = reply if len(reply) <= _RAW_CHARACTERS else reply[: _RAW_CHARACTERS - 1] + "…"
        start, stop = (0, 0) if too_long(reply) else final_part(reply)
        said = reply[start:stop].strip()
        if not said:
            return Answer(question, None, raw, "word")
        shown = json.dumps(said if whole else f"{said} …", ensure_ascii=False)
        decoded = self._complete(
            f"{self._examples}Question: {question}\nReply: {shown}\nAnswer:"
        ).strip()
        first, last = final_part(decoded[:_LONGEST])
        word = decoded[first:last].strip(" \n\t.'\"*`").lower().removeprefix("answer:").strip()
        p = _WORDS.get(word)
        found = find_answer(said, question, whole)
        opposite = found is not None and p is not None and found.yes != bool(p)
        return Answer(question, None if opposite else p, raw, "word", decoded[:_RAW_CHARACTERS])
