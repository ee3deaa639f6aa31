"""How a language model reads replies in free text, beside the rules: the labels of the 459 replies of the tests.

transformers serve FOLDER --device cpu --port 8000
python benchmarks/decoder.py --model FOLDER@http://127.0.0.1:8000/v1 --out runs/decoder.jsonl    # resumes
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import rich
import tyro
from rich.table import Table

from soar.types import Question
from soar.utils.files import append_lines, read_lines
from soar.utils.progress import progress_bar
from soar.vlm.clients.chat import language_model
from soar.vlm.clients.decoder import Decoder
from soar.vlm.clients.replies import read_chat

_REPLIES = Path(__file__).parents[1] / "tests" / "vlm" / "clients" / "replies_by_question.json"
_LABELS = {"yes": 1.0, "no": 0.0, "unknown": None}
_MOST_WORDS = 8
"""Number of the language model's most frequent words that are printed."""


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    model: str
    """Language model, MODEL@URL of a chat endpoint."""
    out: Path
    """File of its labels, a row for each reply."""


class Reply(NamedTuple):
    """A reply with the label that a person gave it."""

    question: Question
    text: str
    label: float | None


def main(setting: Setting) -> None:
    """Ask the model about each reply that has no row yet, and print one table."""
    replies = list(_read())
    done = read_lines(setting.out)
    decoder = Decoder(language_model(setting.model))
    with progress_bar() as bar:
        for reply in bar.track(replies[len(done) :], description="replies"):
            answer = decoder.read(reply.text, reply.question)
            done.append({"p_yes": answer.p_yes, "decoded": answer.decoded})
            append_lines(setting.out, done[-1:])
    table = Table("labeled by", *_COLUMNS, box=None)
    table.add_row("rules", *_counts(replies, [_by_rules(r) for r in replies]))
    table.add_row(
        setting.model.partition("@")[0], *_counts(replies, [row["p_yes"] for row in done])
    )
    rich.print(table)
    words = Counter(" ".join(row["decoded"].split())[:20] for row in done)
    rich.print(f"its words: {dict(words.most_common(_MOST_WORDS))}")


_COLUMNS = ("answers read", "answers missed", "answers turned round", "labels of no answer")


def _read() -> Iterator[Reply]:
    for group in json.loads(_REPLIES.read_text(encoding="utf-8")):
        for name, label in _LABELS.items():
            for text in group[name]:
                yield Reply(Question(group["question"]), text, label)


def _by_rules(reply: Reply) -> float | None:
    message = {"choices": [{"message": {"content": reply.text}, "finish_reason": "stop"}]}
    return read_chat(message, [reply.question])[0].p_yes


def _counts(replies: Sequence[Reply], labels: Sequence[float | None]) -> list[str]:
    """Numbers of the table's columns."""
    both = [(r.label, label) for r, label in zip(replies, labels, strict=True)]
    answers = [(right, label) for right, label in both if right is not None]
    numbers = (
        sum(right == label for right, label in answers),
        sum(label is None for _, label in answers),
        sum(label is not None and label != right for right, label in answers),
    )
    invented = sum(label is not None for right, label in both if right is None)
    return [
        *(f"{n} of {len(answers)}" for n in numbers),
        f"{invented} of {len(both) - len(answers)}",
    ]


if __name__ == "__main__":
    main(tyro.cli(Setting))
