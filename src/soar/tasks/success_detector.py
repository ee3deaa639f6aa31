"""Whether a task was done: a verdict from the answer to its question about the last frame (paper, B.1.2).

What was so before the first action is no achievement. The paper judges the last frame alone; with its
random choice when nothing is feasible, and with eyes that err, that praises episodes in which nothing
happened. Here P(success) = P(done now) P(not done before). The look that judges is the look that finds the next feasible tasks, so a loop that already has its
answers calls `verdict`; `VLMSuccessDetector` asks for itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from soar.errors import ConfigError
from soar.interfaces import VisionLanguageModel
from soar.tasks.grammar import success_probability
from soar.types import Answer, Observation, Question, Task, Verdict


class VLMSuccessDetector:
    """Judges with any vision-language model that answers yes/no questions."""

    def __init__(self, model: VisionLanguageModel, threshold: float = 0.5) -> None:
        """`threshold`: P(success) from which it is called success; `soar vlm calibrate` chooses one."""
        if not 0 < threshold < 1:
            raise ConfigError(f"threshold must lie between 0 and 1, not {threshold}")
        self.model = model
        self.threshold = threshold

    def judge(self, observation: Observation, task: Task) -> Verdict:
        """A verdict on one image. Raises ModelUnavailable."""
        [[answer]] = self.model.answer([observation.image], [[task.question]])
        return verdict(task, {task.question: answer}, self.model.name, self.threshold)


def verdict(
    task: Task,
    answers: Mapping[Question, Answer],
    judge: str,
    threshold: float = 0.5,
    before: Mapping[Question, Answer] | None = None,
) -> Verdict:
    """The verdict that the last look's answers, by question, give. No readable answer: unknown.

    `before`: those of the look before the first action; None: the task is known to have been undone.
    """
    answer = answers.get(task.question)
    p = _done(task, answer)
    if p is not None and before is not None:
        was = _done(task, before.get(task.question))
        p = None if was is None else p * (1 - was)
    raw = answer.raw if answer else ""
    if p is None:
        return Verdict("unknown", None, task.question.text, raw, judge)
    return Verdict("success" if p >= threshold else "failure", p, task.question.text, raw, judge)


def _done(task: Task, answer: Answer | None) -> float | None:
    """P(done), or None where nothing could be read."""
    if answer is None or answer.p_yes is None:
        return None
    return success_probability(task, answer.p_yes)
