"""Configuration of a run of improvement, in simulation or on real stations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, TypeAlias

import tyro
from annotated_types import Ge, Gt, Le, Lt

from soar.collection.config import CollectionConfig
from soar.collection.supervisor import FaultLimits
from soar.evaluation.protocol import EvalConfig
from soar.improvement.collecting import Amount
from soar.improvement.cotraining import CoTrainConfig
from soar.improvement.external import ExternalConfig
from soar.improvement.methods.advantage import AdvantageConfig
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.finetune_subgoals import FinetuneSubgoalsConfig
from soar.improvement.methods.critic import CriticConfig
from soar.improvement.methods.dial import DialConfig
from soar.improvement.methods.hindsight import HindsightConfig
from soar.improvement.methods.method import MethodName
from soar.improvement.offline_actor import OfflineActorConfig
from soar.improvement.rounds import Candidate, ImproveConfig
from soar.registry import COMPACT
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig, episode_config
from soar.utils.config import check_ranges

Judge: TypeAlias = Literal["person", "detector"]
Starts: TypeAlias = Literal["set", "kept"]


def evaluation_of(config: ImproveConfig, candidate: Candidate) -> EvalConfig:
    """Return how a candidate of a run is evaluated: in all rounds alike."""
    return EvalConfig(
        candidate.policy,
        candidate.subgoals,
        config.trials,
        first_seed=config.first_seed,
        steps_per_subgoal=config.episode_config.steps_per_subgoal,
    )


@dataclass(frozen=True)
class CollectOptions:
    """Collection in each round."""

    stations: Annotated[int, Ge(1)] = 8
    """Number of simulated stations, in lockstep, each with its own layout; more of them share each model's batch."""
    vlm: str = ModelsConfig.vlm
    """Vision-language model that proposes and judges, as `soar.registry` names it."""
    detector: str = ModelsConfig.detector
    """Success detector, as `soar.registry` names it."""
    threshold: Annotated[float, Gt(0), Lt(1)] = ModelsConfig.threshold
    """P(success) from which an episode counts as a success."""
    exploring: Annotated[float, Ge(0), Le(1)] = CollectionConfig.exploring
    """Share of episodes whose actions are sampled from the policy's Gaussian."""
    noise: Annotated[float, Ge(0)] = 0.5
    """Scale of its standard deviation in those."""
    minutes: Annotated[float, Ge(0)] = 0.0
    """Duration of a round's collection in each scene, or on all real stations, where all `episodes` would take longer
    [min]; 0 for no limit."""
    least_episodes: Annotated[int, Ge(1)] = 1
    """Episodes that are collected however long they take."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the first simulated station; the others count up."""
    questions: str = ""
    """Question file for tasks of simulated scenes that the grammar doesn't know."""
    proposer: str = ModelsConfig.proposer
    """Chooser of the next task: "uncertain", "open", "open:MODEL@URL" or "python:package.module:function"."""
    fault_limits: FaultLimits = field(default_factory=FaultLimits)

    def __post_init__(self) -> None:
        check_ranges(self)

    def amount(self, episodes: int) -> Amount:
        """Return how much is collected in a round that asks for `episodes`."""
        return Amount(episodes, self.minutes, self.least_episodes)


@dataclass(frozen=True)
class Teacher:
    """Models that collect in place of those that learn.

    The whole system teaches a policy that follows instructions alone (paper, Table 1), or a large policy a small one.
    """

    policy: str = ""
    """Policy that collects, as `soar.registry` names it; "" for the one that learns."""
    subgoals: str = COMPACT
    """Subgoal generator of a policy that collects; "none" for a policy that follows instructions."""


@dataclass(frozen=True)
class StationTrials:
    """Evaluation on real stations, where trials before and after learning are interleaved in random order."""

    judge: Judge = "person"
    """Judge of a trial: the person, who isn't told which policy acted, or the success detector. With a person, the
    detector's verdict is recorded as well."""
    starts: Starts = "set"
    """"set": a person sets every start, guided by the recorded start image; "kept": the scene stays as the last
    episode left it, and a person is asked only where no task is possible."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the order."""


@dataclass(frozen=True)
class RunConfig(ImproveConfig):
    """Everything that determines a run of improvement."""

    method: MethodName | None = None
    """Method by which the policy learns (docs/improvement.md); None: corrections, or hindsight (paper) without them.
    """
    teacher: Teacher = field(default_factory=Teacher)
    collect: CollectOptions = field(default_factory=CollectOptions)
    fit: CoTrainConfig = field(default_factory=CoTrainConfig)
    finetune: FinetuneSubgoalsConfig = field(default_factory=FinetuneSubgoalsConfig)
    corrections: CorrectionsConfig = field(default_factory=CorrectionsConfig)
    hindsight: HindsightConfig = field(default_factory=HindsightConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    dial: DialConfig = field(default_factory=DialConfig)
    actor: OfflineActorConfig = field(default_factory=OfflineActorConfig)
    external: ExternalConfig = field(default_factory=ExternalConfig)
    demonstrations: int | str = 1000
    """Demonstrations that co-training keeps: a number of simulated ones of the *bridge* regime, made once and shared
    by all runs; an episode store's folder; or "none". On real stations a number means none."""
    generated_goals: Annotated[float, Ge(0), Le(1)] = 0.5
    """Share of demonstrations whose goal is rendered by the compact subgoal generator."""
    stations: Annotated[tuple[StationConfig, ...], tyro.conf.Suppress] = ()
    """Real stations; empty for simulation."""
    station_trials: StationTrials = field(default_factory=StationTrials)

    @property
    def models(self) -> ModelsConfig:
        """The models that collection begins with."""
        c = self.collect
        return ModelsConfig(
            vlm=c.vlm,
            subgoals=self.subgoals,
            policy=self.policy,
            detector=c.detector,
            threshold=c.threshold,
            proposer=c.proposer,
        )

    def collecting(self, policy: str, subgoals: str) -> tuple[ModelsConfig, CollectionConfig]:
        """Return the models that collect, and how: the teacher's, or those given.

        Args:
            policy: the policy in force.
            subgoals: the subgoal generator in force.
        """
        if self.teacher.policy:
            policy, subgoals = self.teacher.policy, self.teacher.subgoals
        c = self.collect
        episode = episode_config(self.stations, subgoals, self.steps_per_subgoal)
        how = CollectionConfig(episode, c.exploring, c.noise, fault_limits=c.fault_limits)
        return replace(self.models, policy=policy, subgoals=subgoals), how
