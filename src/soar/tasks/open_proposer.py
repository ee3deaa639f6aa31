"""Open-ended task proposal: a VLM names tasks in its own words, and filters decide which of them are tried.

The paper's section 3 sets open-ended proposals aside for the VLMs of its day, and chooses among given tasks. Here a VLM
behind a chat endpoint is asked for tasks about the current image. One is tried only if

1. no word of the list of what is never allowed is in it (`never.txt`),
2. the policy was trained on it, or on its skill and its objects,
3. it has a yes/no question that tells whether it is done: from the question file, the grammar, or the VLM,
4. the VLM answers each question of that list with no,
5. it is feasible: the station's VLM answers its question with the opposite of done, and misses none of its objects.

After AutoRT (arXiv 2401.12963). Without such a task, or while the VLM is unavailable, the station's own tasks are
proposed. Everything that was asked and answered is stored with the episode.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Ge, Le

from soar.errors import ConfigError, ModelUnavailable
from soar.interfaces import VisionLanguageModel
from soar.tasks.grammar import FORMS, questions_of
from soar.tasks.proposer import (
    HALF,
    UncertaintyProposer,
    feasible_tasks,
    select_task,
    uncertainties,
    with_objects_present,
)
from soar.tasks.question_file import tasks_from_instructions
from soar.tasks.task_filters import KnownTasks, NeverList, normalized
from soar.types import Answer, History, Image, Observation, Proposal, Question, Task
from soar.utils.config import check_ranges

log = logging.getLogger(__name__)

_LONGEST = 120
"""Most characters of a proposed instruction."""
_PLAIN = re.compile(r"[^\W\d_][\w ,'’-]*")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(.+?)\s*$", re.MULTILINE)
_LIST = re.compile(r"\[[^\[\]]*\]")


class TaskWriter(VisionLanguageModel, Protocol):
    """A vision-language model that writes free text, too."""

    def write(self, prompt: str, image: Image | None = None) -> str:
        """Return the reply to a prompt. Raises ModelUnavailable."""


@dataclass(frozen=True)
class OpenProposerConfig:
    """Filters of open-ended proposals."""

    trained_on: str = "grammar"
    """What the policy was trained on: "grammar" for any task that the grammar understands; "any"; a text file with an
    instruction per line; or an episode store's folder. A file or store allows its skills with its objects."""
    never: str = ""
    """Text file of what is never allowed; empty for the packaged one (src/soar/tasks/never.txt)."""
    questions: str = ""
    """Question file for tasks that the grammar doesn't know; the VLM's questions are added to it."""
    count: Annotated[int, Ge(1), Le(32)] = 8
    """Most tasks of one reply."""

    def __post_init__(self) -> None:
        check_ranges(self)


class OpenProposer:
    """Proposes the feasible task with the fewest attempts among those that a VLM names and the filters allow."""

    def __init__(
        self,
        tasks: Sequence[Task],
        writer: TaskWriter,
        vlm: VisionLanguageModel,
        config: OpenProposerConfig | None = None,
        threshold: float = HALF,
    ) -> None:
        """Initialize the proposer.

        Args:
            tasks: the station's tasks, proposed where the VLM names none.
            writer: VLM that names tasks and answers the questions about what is never allowed.
            vlm: the station's VLM, which judges feasibility as it will judge success.
            config: filters.
            threshold: P(yes) from which an answer counts as yes.

        Raises:
            ConfigError: a file of the configuration can't be read.
        """
        self.config = config or OpenProposerConfig()
        self._usual = UncertaintyProposer(tasks, threshold)
        self._own = {normalized(t.instruction): t for t in tasks}
        self._writer, self._vlm, self._threshold = writer, vlm, threshold
        self._never = NeverList.read(self.config.never) if self.config.never else NeverList.read()
        chosen = self.config.trained_on
        self._trained = None if chosen in ("any", "grammar") else KnownTasks.read(chosen)
        self._prompt = _prompt(self.config, self._never, self._trained)
        self._written: dict[str, Task] = {}
        """Tasks whose questions were found, by instruction."""

    def propose(
        self,
        observation: Observation,
        answers: Mapping[Question, Answer],
        history: History,
        rng: np.random.Generator,
    ) -> Proposal:
        """See `TaskProposer.propose`. `asked` and `refused` of the proposal tell how it came about."""
        asked: list[Answer] = []
        refused: dict[str, str] = {}
        try:
            feasible = self._feasible(observation.image, asked, refused)
        except ModelUnavailable as error:
            log.warning("no open-ended proposals, the station's own tasks instead: %s", error)
            asked.append(Answer(Question(self._prompt), None, f"unavailable: {error}"))
            feasible = ()
        if feasible:
            task = select_task(feasible, history, rng)
            names, scores = (
                tuple(t.instruction for t in feasible),
                uncertainties(feasible, history),
            )
            return Proposal(task, "uncertain", names, scores, refused, tuple(asked))
        usual = self._usual.propose(observation, answers, history, rng)
        return replace(usual, refused=refused, asked=tuple(asked))

    def _feasible(
        self, image: Image, asked: list[Answer], refused: dict[str, str]
    ) -> tuple[Task, ...]:
        """Name tasks and filter them; add what was asked and refused. Raises ModelUnavailable."""
        reply = self._writer.write(self._prompt, image)
        asked.append(Answer(Question(self._prompt), None, reply))
        candidates = list(dict.fromkeys(map(normalized, proposed_texts(reply))))
        tasks = []
        for instruction in candidates[: self.config.count]:
            task = self._checked(instruction, refused)
            tasks += [task] if task else []
        return self._possible(image, self._harmless(image, tasks, asked, refused), asked, refused)

    def _checked(self, instruction: str, refused: dict[str, str]) -> Task | None:
        """The task of an instruction; None if it is refused without a look at the image. Raises ModelUnavailable."""
        if len(instruction) > _LONGEST or not _PLAIN.fullmatch(instruction):
            refused[instruction[:_LONGEST]] = "no instruction"
            return None
        if word := self._never.forbidden_word(instruction):
            refused[instruction] = f"never: {word}"
            return None
        own = self._own.get(instruction) or self._written.get(instruction)
        if own is not None:
            return own
        known = self._trained
        listed = known is not None and instruction in known.instructions
        write = self._writer.write if listed or self.config.trained_on == "any" else None
        try:
            [task] = tasks_from_instructions([instruction], self.config.questions, write)
        except ConfigError:
            refused[instruction] = "no question tells whether it is done"
            return None
        if known is not None and not known.contains(task):
            refused[instruction] = "not what the policy was trained on"
            return None
        self._written[instruction] = task
        return task

    def _harmless(
        self,
        image: Image,
        tasks: Sequence[Task],
        asked: list[Answer],
        refused: dict[str, str],
    ) -> list[Task]:
        """Tasks for which every question of what is never allowed is answered with no. Raises ModelUnavailable."""
        questions = [q for t in tasks for q in self._never.asked(t.instruction)]
        found = self._ask(self._writer, image, questions, asked)
        harmless = []
        for task in tasks:
            for question in self._never.asked(task.instruction):
                p = found.get(question)
                if p is None or p >= self._threshold:
                    answer = "unknown" if p is None else "yes"
                    refused[task.instruction] = f"never: {question} ({answer})"
                    break
            else:
                harmless.append(task)
        return harmless

    def _possible(
        self,
        image: Image,
        tasks: Sequence[Task],
        asked: list[Answer],
        refused: dict[str, str],
    ) -> tuple[Task, ...]:
        """Tasks that the station's VLM finds feasible. Raises ModelUnavailable."""
        found = self._ask(self._vlm, image, questions_of(tasks), asked)
        answers = {q: Answer(q, p) for q, p in found.items()}
        present = with_objects_present(tasks, answers, self._threshold)
        feasible = feasible_tasks(present, answers, self._threshold)
        for task in tasks:
            if task not in present:
                refused[task.instruction] = "an object is missing"
            elif task not in feasible:
                known = found.get(task.question) is not None
                refused[task.instruction] = "done already" if known else "feasibility unknown"
        return feasible

    def _ask(
        self,
        vlm: VisionLanguageModel,
        image: Image,
        questions: Sequence[Question],
        asked: list[Answer],
    ) -> dict[Question, float | None]:
        """P(yes) by question, None for unreadable or impossible ones. Raises ModelUnavailable."""
        if not questions:
            return {}
        [answers] = vlm.answer([image], [questions])
        asked += answers
        return {
            a.question: a.p_yes if a.p_yes is not None and 0 <= a.p_yes <= 1 else None
            for a in answers
        }


def proposed_texts(reply: str) -> list[str]:
    """Return the tasks of a reply: its last JSON list of texts, else the lines of a numbered or bulleted list."""
    for text in reversed(_LIST.findall(reply)):
        try:
            found = json.loads(text)
        except ValueError:
            continue
        return [t for t in found if isinstance(t, str) and t.strip()]
    return [line.strip("\"'*` ") for line in _BULLET.findall(reply)]


def _prompt(config: OpenProposerConfig, never: NeverList, trained: KnownTasks | None) -> str:
    """The request for tasks."""
    lines = [
        "The image shows the table in front of a robot arm with a gripper of two fingers. "
        f"Name up to {config.count} different tasks that it could do now with one grasp and one release, each as a "
        "short instruction in English with the objects that you see.",
    ]
    if config.trained_on != "any":
        lines.append(f"Use these forms only: {'; '.join(FORMS)}.")
    if trained is not None:
        lines.append(f"It knows these objects only: {', '.join(sorted(trained.nouns))}.")
    lines.append(f"Never name a task with: {', '.join(never.words)}.")
    lines.append('Reply with a JSON list of texts only, such as ["open the drawer"]; [] for none.')
    return "\n".join(lines)
