"""Stand-ins for proposer and VLM in episodes whose task is given from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from soar.interfaces import Policy, Robot, SubgoalGenerator
from soar.rollout.assessment import SceneAssessment
from soar.rollout.callbacks import NO_CALLBACK, Callback
from soar.rollout.loop import run_episodes
from soar.rollout.station import EpisodeConfig, Models, Station
from soar.tasks.grammar import parse_instruction
from soar.types import Answer, History, Image, Observation, Proposal, Question, Task
from soar.utils.clock import Metronome


class FixedTaskProposer:
    """A proposer that proposes what it was told to."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def propose(
        self,
        observation: Observation,
        answers: Mapping[Question, Answer],
        history: History,
        rng: np.random.Generator,
    ) -> Proposal:
        """The task."""
        return Proposal(self.task, "asked")


class NoVLM:
    """Takes the vision-language model's place where a task is given and somebody else judges."""

    name = "nobody"

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """No answer to anything."""
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
    """One episode on each station, whose task its `fixed_station` fixed; no VLM is asked."""
    run_episodes(
        stations,
        [SceneAssessment(s.robot.observe(), {}) for s in stations],
        Models(NoVLM(), policy, subgoals),
        config,
        [{} for _ in stations],
        rng,
        callback=callback,
        metronome=metronome,
    )


def fixed_station(name: str, robot: Robot, instruction: str, scene: str, seed: int) -> Station:
    """A station whose proposer always proposes `instruction`."""
    task = parse_instruction(instruction)
    return Station(name, robot, (), FixedTaskProposer(task), scene, seed=seed)
