"""Choice of the learning stages of a run, before anything is collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from soar.checkpoint import load as load_checkpoint
from soar.data.frame_cache import Frames, build_frames
from soar.data.generated_goals import GeneratedGoals, regenerated_goals
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.experiments.run_config import RunConfig
from soar.improvement.cotraining import CoTraining
from soar.improvement.external import ExternalTraining
from soar.improvement.methods.advantage import AdvantageMethod
from soar.improvement.methods.corrections.finetune_subgoals import OtherSamples
from soar.improvement.methods.corrections.method import (
    Corrections,
    SubgoalFinetuning,
    corrections_obstacle,
    finetuning_obstacle,
)
from soar.improvement.methods.critic import CriticMethod
from soar.improvement.methods.dial import Dial
from soar.improvement.methods.hindsight import Hindsight, RegenerateGoals
from soar.improvement.methods.method import LearningMethod, MethodName, choose_method
from soar.improvement.offline_actor import OfflineActorTraining
from soar.improvement.own_training import OwnTraining
from soar.improvement.rounds import FinetuneStage, OnMessage
from soar.improvement.run import Run
from soar.interfaces import TrainablePolicy
from soar.policies.gcbc import GCBCConfig
from soar.policies.identity import check_goals
from soar.promotion import promoted_models
from soar.registry import COMPACT, load_policy, policy_spec
from soar.subgoals.compact.generator import load_compact
from soar.training.policy import PolicyTrainConfig
from soar.types import Query, Task
from soar.utils.hardware import launched_processes

ACTORS: tuple[MethodName, ...] = ("robofume", "calql")
"""Methods whose policy is a critic's actor."""
NO_DEMONSTRATIONS = "none"
"""Value of `RunConfig.demonstrations` for a run without any."""


@dataclass(frozen=True)
class Learning:
    """The parts of a run's models that learn, and how."""

    config: RunConfig
    method: MethodName
    recipe: PolicyTrainConfig | None
    """Training configuration of the policy; None where it stays as it is."""
    finetunes: bool
    """Whether the subgoal generator is fine-tuned."""
    trains_itself: bool = False
    """Whether the policy is a third-party one that trains by its own code."""

    @property
    def reaches_images(self) -> bool:
        """Whether the policy reaches goal images, which the subgoal generator can render for its training."""
        if self.recipe is None or self.method in ACTORS:
            return False
        return isinstance(self.recipe.policy, GCBCConfig)

    def finetuning(self, others: OtherSamples) -> FinetuneStage | None:
        """Return the stage that fine-tunes the subgoal generator. `others`: makes samples of other scenes."""
        c = self.config
        return (
            SubgoalFinetuning(c.finetune, c.corrections, others, c.workers)
            if self.finetunes
            else None
        )

    def cotraining(
        self, demonstrations: Source | None, regenerate: RegenerateGoals | None
    ) -> CoTraining | OwnTraining | OfflineActorTraining | ExternalTraining | None:
        """Return the stage that trains the policy.

        Args:
            demonstrations: demonstrations to co-train on.
            regenerate: renders goals of imitated episodes.
        """
        if self.method == "external":
            return ExternalTraining(self.config.external)
        if self.method == "robofume" or self.method == "calql":
            return OfflineActorTraining(self.config.actor, self.method, demonstrations)
        if self.trains_itself:
            store = self.config.demonstrations
            given = None if isinstance(store, int) or store == NO_DEMONSTRATIONS else Path(store)
            return OwnTraining(self.config.hindsight.outcomes, given)
        if self.recipe is None:
            return None
        c, resolution = self.config, self.recipe.policy.resolution
        method: LearningMethod = Hindsight(c.hindsight, resolution, regenerate)
        if self.method == "corrections":
            method = Corrections(c.corrections, resolution, c.workers)
        elif self.method == "dial":
            method = Dial(c.dial, c.hindsight, resolution, c.models.load_detector)
        elif self.method == "advantage":
            method = AdvantageMethod(c.advantage, c.critic, c.hindsight, resolution, demonstrations)
        elif self.method == "critic":
            method = CriticMethod(c.critic, Hindsight(c.hindsight, resolution), demonstrations)
        return CoTraining(c.fit, self.recipe, method, demonstrations)


def plan_learning(config: RunConfig, tasks: Sequence[Task], on_message: OnMessage) -> Learning:
    """Decide what learns in a run, and say so.

    Raises:
        CheckpointError: a policy is missing.
        ConfigError: the requested method doesn't apply, nothing would learn, or a policy can't use its subgoals.
    """
    if config.fit.minutes and (config.stations or launched_processes() > 1):
        raise ConfigError(
            "--fit.minutes is for one process and simulated stations; valid here: --fit.steps"
        )
    if config.method not in ACTORS:  # their actor needs no subgoals
        check_goals(config.policy, config.subgoals)
    if config.teacher.policy:
        check_goals(config.teacher.policy, config.teacher.subgoals)
    method, recipe, trains_itself = config.method or "hindsight", None, False
    subgoals = promoted_models(config.subgoals)[1]
    spec = policy_spec(name := promoted_models(config.policy)[0])
    if config.method == "external":
        config.external.check()
        on_message(f"method: external, by {config.external.command}")
        return Learning(config, "external", None, False)
    if config.method in ACTORS:
        method = config.method
        recipe = PolicyTrainConfig(GCBCConfig(config.actor.resolution))
        on_message(f"method: {method}, whose actor takes the place of the policy")
    elif config.fit.steps and not spec.is_compact and config.method not in (None, "hindsight"):
        raise ConfigError(
            f"--method {config.method} trains a policy of this package; '{name}' is none; valid: external, hindsight"
        )
    elif config.fit.steps and not spec.is_compact:
        trains_itself = _trains_itself(name, on_message)
    elif config.fit.steps:
        policy = load_checkpoint(spec.folder)
        obstacle = corrections_obstacle(policy, subgoals, tasks)
        method = choose_method(config.method, obstacle)
        _require_condition(method, policy.kind)
        recipe = config.fit.recipe(policy)
        if method == "advantage":
            recipe = replace(recipe, policy=replace(recipe.policy, advantage=True))
        fallback = method == "hindsight" and config.method is None
        on_message(
            f"method: {method}" + (f"; corrections don't apply: {obstacle}" if fallback else "")
        )
    # Its labels are those of corrections; other methods teach the policy alone, as the paper does.
    finetunes = config.finetune.steps > 0 and config.method in (None, "corrections")
    if finetunes and (obstacle := finetuning_obstacle(subgoals, tasks)):
        on_message(f"the subgoal generator stays as it is: {obstacle}")
        finetunes = False
    if recipe is None and not trains_itself and not finetunes:
        raise ConfigError(
            "neither policy nor subgoal generator learns: fit or finetune needs steps above 0, and a third-party "
            "policy needs a method fit or --method external"
        )
    return Learning(config, method, recipe, finetunes, trains_itself)


def _require_condition(method: MethodName, kind: str) -> None:
    """Raise ConfigError if a method doesn't apply to a kind of policy."""
    needed = {"critic": "gcbc", "advantage": "gcbc", "lcbc": "lcbc", "dial": "lcbc"}.get(
        method, kind
    )
    if kind != needed:
        option = "--policy lcbc --subgoals none" if needed == "lcbc" else "--policy gcbc"
        raise ConfigError(
            f"--method {method} trains {needed} policies, not {kind}; valid: {option}"
        )


def _trains_itself(name: str, on_message: OnMessage) -> bool:
    """Whether a third-party policy has a method fit; says so."""
    policy = load_policy(name)
    trains = isinstance(policy, TrainablePolicy)
    what = "trains by its own method fit" if trains else "stays as it is: it has no method fit"
    on_message(f"policy {policy.name} {what}")
    return trains


def goal_renderer(subgoals: str = COMPACT) -> RegenerateGoals:
    """Return what renders goals with a compact subgoal generator, which is loaded when the first is needed."""

    def regenerate(frames: Frames, share: float, path: Path) -> GeneratedGoals:
        render = load_compact(subgoals).generate_from_futures
        return regenerated_goals(frames, render, share, 0, path)

    return regenerate


def stored_demonstrations(
    learning: Learning, run: Run, regenerate: RegenerateGoals | None, on_message: OnMessage
) -> Source | None:
    """Return the demonstrations of the configured store, with goals that `regenerate` renders; None without a store."""
    store, recipe = learning.config.demonstrations, learning.recipe
    if recipe is None:
        return None
    if isinstance(store, int) or store == NO_DEMONSTRATIONS:
        on_message(
            "no demonstrations: the policy learns from own episodes alone; --demonstrations STORE co-trains on a store"
        )
        return None
    on_message(f"demonstrations for co-training: {store}")
    cache = run.frames
    opened = open_store(store, read_only=True)
    frames = build_frames(opened, Query(), recipe.policy.resolution, cache)
    source = Source("pretraining", frames, 1.0, recipe.goals)
    share = learning.config.generated_goals
    if regenerate is None or not share:
        return source
    goals = regenerate(frames, share, cache / "demonstrations.npz")
    return replace(source, generated_goals=goals)
