"""What to practise next: the feasible tasks, and among them the one tried least (paper, section 3 and B.1.1).

Pure: a proposal follows from the tasks, the answers of one look, the counts in the store, and a random
number generator. Nothing is remembered here, so nothing can be restored wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from soar.errors import ConfigError, NoFeasibleTask
from soar.tasks.questions import present_question
from soar.types import Answer, History, Observation, Proposal, Question, Task, TaskCount

HALF = 0.5
"""Above this P(yes) an answer counts as yes."""


class UncertaintyProposer:
    """Proposes the feasible task with the fewest attempts; with none feasible, any task that makes sense."""

    def __init__(self, tasks: Sequence[Task], threshold: float = HALF) -> None:
        """`threshold`: P(yes) from which an answer means yes. Raises ConfigError for an empty task list."""
        if not tasks:
            raise ConfigError("a proposer needs at least one task; a scene's file lists them")
        if not 0 < threshold < 1:
            raise ConfigError(f"threshold must lie between 0 and 1, not {threshold}")
        self.tasks = tuple(tasks)
        self.threshold = threshold

    def propose(
        self,
        observation: Observation,
        answers: Mapping[Question, Answer],
        history: History,
        rng: np.random.Generator,
    ) -> Proposal:
        """The next task, from answers by question. The random fallback stirs the scene (paper, section G)."""
        sensible = with_objects_present(self.tasks, answers, self.threshold)
        feasible = feasible_tasks(sensible, answers, self.threshold)
        if feasible:
            task = select_task(feasible, history, rng)
            scores = uncertainties(feasible, history)
            return Proposal(task, "uncertain", tuple(t.instruction for t in feasible), scores)
        known = any(_yes(answers.get(t.question), self.threshold) is not None for t in self.tasks)
        choices = sensible or self.tasks
        task = choices[int(rng.integers(len(choices)))]
        return Proposal(task, "nothing feasible" if known else "no answers")


def feasible_tasks(
    tasks: Sequence[Task], answers: Mapping[Question, Answer], threshold: float = HALF
) -> tuple[Task, ...]:
    """The tasks whose answer is the opposite of done (Eq. 2). An unknown answer makes nothing feasible."""
    wanted = [(t, _yes(answers.get(t.question), threshold)) for t in tasks]
    return tuple(t for t, yes in wanted if yes is not None and yes != t.success_answer)


def with_objects_present(
    tasks: Sequence[Task], answers: Mapping[Question, Answer], threshold: float = HALF
) -> tuple[Task, ...]:
    """The tasks none of whose objects was said to be missing."""
    gone = missing_objects(tasks, answers, threshold)
    return tuple(t for t in tasks if not gone.intersection(t.objects))


def missing_objects(
    tasks: Sequence[Task], answers: Mapping[Question, Answer], threshold: float = HALF
) -> frozenset[str]:
    """Objects of these tasks whose present-question was answered no: what a person should put back."""
    objects = {o for t in tasks for o in t.objects}
    return frozenset(
        o for o in objects if _yes(answers.get(present_question(o)), threshold) is False
    )


def uncertainties(feasible: Sequence[Task], history: History) -> dict[str, float]:
    """Eq. 1's value for each feasible instruction: sqrt(log(N + 1) / (n_i + 1)).

    n_i is the attempts of task i, N their sum over the feasible tasks.
    """
    attempts = {t.instruction: history.get(t.instruction, TaskCount()).attempts for t in feasible}
    total = sum(attempts.values())
    return {task: math.sqrt(math.log(total + 1) / (n + 1)) for task, n in attempts.items()}


def select_task(feasible: Sequence[Task], history: History, rng: np.random.Generator) -> Task:
    """The feasible task whose success rate is least certain (paper, Eq. 1).

    Ties are broken at random, so that a fresh station doesn't start every scene with the same task.

    Raises:
        NoFeasibleTask: `feasible` is empty.
    """
    if not feasible:
        raise NoFeasibleTask("no task is feasible in the scene as it is")
    scores = uncertainties(feasible, history)
    best = max(scores.values())
    tied = [t for t in feasible if scores[t.instruction] == best]
    return tied[int(rng.integers(len(tied)))]


def _yes(answer: Answer | None, threshold: float) -> bool | None:
    """Yes, no, or None where nothing could be read."""
    return None if answer is None or answer.p_yes is None else answer.p_yes >= threshold
