"""Task proposal: the feasible task that was tried least (paper, sections 3 and B.1.1).

Proposals are stateless: they follow from the tasks, the VLM's answers, the counts in the store and a random number
generator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from soar.errors import ConfigError, NoFeasibleTask
from soar.tasks.questions import present_question
from soar.types import Answer, History, Observation, Proposal, Question, Task, TaskCount

HALF = 0.5
"""P(yes) from which an answer counts as yes."""


class UncertaintyProposer:
    """Proposes the feasible task with the fewest attempts, or a random one if none is feasible."""

    def __init__(self, tasks: Sequence[Task], threshold: float = HALF) -> None:
        """Initialize the proposer.

        Args:
            tasks: the station's tasks.
            threshold: P(yes) from which an answer counts as yes.

        Raises:
            ConfigError: there is no task, or the threshold isn't between 0 and 1.
        """
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
        """See `TaskProposer.propose`. A random task changes the scene where nothing is feasible (paper, section G)."""
        possible = with_objects_present(self.tasks, answers, self.threshold)
        feasible = feasible_tasks(possible, answers, self.threshold)
        if feasible:
            task = select_task(feasible, history, rng)
            scores = uncertainties(feasible, history)
            return Proposal(task, "uncertain", tuple(t.instruction for t in feasible), scores)
        known = any(_yes(answers.get(t.question), self.threshold) is not None for t in self.tasks)
        choices = possible or self.tasks
        task = choices[int(rng.integers(len(choices)))]
        return Proposal(task, "nothing feasible" if known else "no answers")


def feasible_tasks(
    tasks: Sequence[Task], answers: Mapping[Question, Answer], threshold: float = HALF
) -> tuple[Task, ...]:
    """Return the tasks whose answer is the opposite of done (Eq. 2); one without a readable answer isn't feasible."""
    read = [(t, _yes(answers.get(t.question), threshold)) for t in tasks]
    return tuple(t for t, yes in read if yes is not None and yes != t.success_answer)


def with_objects_present(
    tasks: Sequence[Task], answers: Mapping[Question, Answer], threshold: float = HALF
) -> tuple[Task, ...]:
    """Return the tasks without a missing object."""
    missing = missing_objects(tasks, answers, threshold)
    return tuple(t for t in tasks if not missing.intersection(t.objects))


def missing_objects(
    tasks: Sequence[Task], answers: Mapping[Question, Answer], threshold: float = HALF
) -> frozenset[str]:
    """Return the tasks' objects whose presence was answered with no: with a probability below the threshold."""
    objects = {o for t in tasks for o in t.objects}
    return frozenset(
        o for o in objects if _yes(answers.get(present_question(o)), threshold) is False
    )


def uncertainties(feasible: Sequence[Task], history: History) -> dict[str, float]:
    """Return the value of Eq. 1 for each feasible instruction: sqrt(log(N + 1) / (n_i + 1)).

    n_i is the number of attempts of task i, N their sum over the feasible tasks.
    """
    attempts = {t.instruction: history.get(t.instruction, TaskCount()).attempts for t in feasible}
    total = sum(attempts.values())
    return {task: math.sqrt(math.log(total + 1) / (n + 1)) for task, n in attempts.items()}


def select_task(feasible: Sequence[Task], history: History, rng: np.random.Generator) -> Task:
    """Return the feasible task whose success rate is least certain (paper, Eq. 1).

    Ties are broken at random, so that a new station doesn't start every scene with the same task.

    Raises:
        NoFeasibleTask: `feasible` is empty.
    """
    if not feasible:
        raise NoFeasibleTask("no task is feasible in the current scene")
    scores = uncertainties(feasible, history)
    best = max(scores.values())
    tied = [t for t in feasible if scores[t.instruction] == best]
    return tied[int(rng.integers(len(tied)))]


def _yes(answer: Answer | None, threshold: float) -> bool | None:
    """Whether an answer is yes; None if it is unreadable or missing."""
    return None if answer is None or answer.p_yes is None else answer.p_yes >= threshold
