"""Episodes of tasks that are given, without proposals and without a VLM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from soar.interfaces import Policy, Robot, SubgoalGenerator
from soar.rollout.assessment import SceneAssessment
from soar.rollout.callbacks import NO_CALLBACK, Callback
from soar.rollout.loop import run_episodes
from soar.rollout.models import Models
from soar.rollout.station import EpisodeConfig, Station
from soar.tasks.grammar import parse_instruction
from soar.tasks.success_detector import VLMSuccessDetector
from soar.types import Answer, History, Image, Observation, Proposal, Question, Task
from soar.utils.clock import Metronome


class FixedTaskProposer:
    """A proposer that always proposes the same task."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def propose(
        self,
        observation: Observation,
        answers: Mapping[Question, Answer],
        history: History,
        rng: np.random.Generator,
    ) -> Proposal:
        """Return the task."""
        return Proposal(self.task, "asked")


class NoVLM:
    """A placeholder for the vision-language model, which gives no readable answer."""

    name = "none"

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return unreadable answers."""
        return [[Answer(q, None) for q in asked] for asked in questions]


def run_fixed_tasks(
    stations: Sequence[Station],
    policy: Policy,
    subgoals: SubgoalGenerator | None,
    config: EpisodeConfig,
    rng: np.random.Generator,
    *,
    callback: Callback = NO_CALLBACK,
    metronome: Metronome | None = None,
) -> None:
    """Run one episode on each station made by `fixed_station`; nothing is judged. See `run_episodes`."""
    vlm = NoVLM()
    run_episodes(
        stations,
        [SceneAssessment(s.robot.observe(), {}) for s in stations],
        Models(vlm, policy, subgoals, VLMSuccessDetector(vlm)),
        config,
        [{} for _ in stations],
        rng,
        callback=callback,
        metronome=metronome,
    )


def fixed_station(name: str, robot: Robot, instruction: str, scene: str, seed: int) -> Station:
    """Return a station whose proposer always proposes `instruction`."""
    task = parse_instruction(instruction)
    return Station(name, robot, (), FixedTaskProposer(task), scene, seed=seed)
