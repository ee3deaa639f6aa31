"""Filters of tasks that a VLM proposes in its own words: what is never allowed, and what the policy was trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.tasks.grammar import parse_instruction
from soar.types import Question, Skill, Task

NEVER = Path(__file__).with_name("never.txt")
"""Packaged list of what is never allowed."""


@dataclass(frozen=True)
class NeverList:
    """What is never allowed: words that no task contains, and yes/no questions whose answer must be no."""

    words: tuple[str, ...]
    questions: tuple[str, ...]
    """Questions with {task} for the instruction."""

    @classmethod
    def read(cls, path: str | Path = NEVER) -> NeverList:
        """Read a list with one word, phrase or question a line; "#" begins a comment.

        Raises:
            ConfigError: the file can't be read, holds nothing, or a question doesn't say {task}.
        """
        lines = _lines(path)
        questions = tuple(line for line in lines if "?" in line)
        if bad := [q for q in questions if not q.endswith("?") or q.count("{task}") != 1]:
            raise ConfigError(
                f"{path}: '{bad[0]:.100}' is no question about a task; valid: one that ends with '?' "
                "and says {task} once"
            )
        words = tuple(" ".join(line.lower().split()) for line in lines if "?" not in line)
        if not lines:
            raise ConfigError(f"{path} forbids nothing; valid: one word or one question a line")
        return cls(words, questions)

    def forbidden_word(self, instruction: str) -> str:
        """Return the first forbidden word of an instruction; "" if there is none."""
        text = instruction.lower()
        return next((w for w in self.words if re.search(rf"\b{re.escape(w)}(s|es)?\b", text)), "")

    def asked(self, instruction: str) -> tuple[Question, ...]:
        """Return the questions about a task, each of which must be answered with no."""
        return tuple(Question(q.replace("{task}", instruction)) for q in self.questions)


@dataclass(frozen=True)
class KnownTasks:
    """What a policy was trained on, from the instructions of its data."""

    instructions: frozenset[str]
    """Instructions in lower case."""
    skills: frozenset[Skill]
    nouns: frozenset[str]
    """Names of objects and containers."""

    @classmethod
    def of(cls, instructions: Iterable[str]) -> KnownTasks:
        """Return the skills and nouns of instructions, as far as the grammar understands them."""
        texts = frozenset(normalized(i) for i in instructions)
        tasks = [parse_instruction(t) for t in texts]
        nouns = {noun for t in tasks for noun in (*t.objects, t.object, t.container) if noun}
        return cls(texts, frozenset(t.skill for t in tasks if t.skill), frozenset(nouns))

    @classmethod
    def read(cls, path: str | Path) -> KnownTasks:
        """Read a text file with one instruction a line, or the instructions of an episode store's folder.

        Raises:
            ConfigError: there is no such file or folder, or it holds no instruction.
            StoreError: the folder is no store.
        """
        folder = Path(path).is_dir()
        instructions = list(open_store(Path(path)).history()) if folder else _lines(path)
        if not instructions:
            raise ConfigError(f"{path} holds no instruction")
        return cls.of(instructions)

    def contains(self, task: Task) -> bool:
        """Whether the instruction is among them, or combines their skills with their objects."""
        if normalized(task.instruction) in self.instructions:
            return True
        nouns = {n for n in (*task.objects, task.object, task.container) if n} - {"table", "side"}
        return task.skill in self.skills and nouns <= self.nouns


def normalized(instruction: str) -> str:
    """Return an instruction in lower case, with single blanks and without a stop at its end."""
    return " ".join(instruction.split()).rstrip("?.! ").lower()


def _lines(path: str | Path) -> Sequence[str]:
    """The lines of a text file without comments and blank ones. Raises ConfigError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise ConfigError(f"{path} can't be read: {reason}") from None
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]
