"""Choice of the learning stages of a run, before anything is collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from soar.checkpoint import load as load_checkpoint
from soar.data.frame_cache import build_frames
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.experiments.run_config import RunConfig
from soar.improvement.cotraining import CoTraining
from soar.improvement.methods.corrections.finetune_subgoals import OtherSamples
from soar.improvement.methods.corrections.method import (
    Corrections,
    SubgoalFinetuning,
    corrections_obstacle,
    finetuning_obstacle,
)
from soar.improvement.methods.hindsight import Hindsight, RegenerateGoals
from soar.improvement.methods.method import MethodName, choose_method
from soar.improvement.rounds import FinetuneStage, OnMessage
from soar.improvement.run import Run
from soar.policies.gcbc import GCBCConfig
from soar.registry import policy_spec, promoted_models
from soar.training.policy import PolicyTrainConfig
from soar.types import Query, Task

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

    @property
    def generates_goals(self) -> bool:
        """Whether training shows the policy goals of the subgoal generator."""
        reaches_images = self.recipe is not None and isinstance(self.recipe.policy, GCBCConfig)
        return reaches_images and self.config.generated_goals > 0

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
    ) -> CoTraining | None:
        """Return the stage that trains the policy.

        Args:
            demonstrations: demonstrations to co-train on.
            regenerate: renders goals of imitated episodes.
        """
        if self.recipe is None:
            return None
        c, resolution = self.config, self.recipe.policy.resolution
        method: Corrections | Hindsight
        if self.method == "corrections":
            method = Corrections(c.corrections, resolution, c.workers)
        else:
            method = Hindsight(c.hindsight, resolution, regenerate)
        return CoTraining(c.fit, self.recipe, method, demonstrations)


def plan_learning(config: RunConfig, tasks: Sequence[Task], on_message: OnMessage) -> Learning:
    """Decide what learns in a run, and say so.

    Raises:
        ConfigError: the requested method doesn't apply, or nothing would learn.
    """
    method, recipe = config.method or "hindsight", None
    subgoals = promoted_models(config.subgoals)[1]
    if config.fit.steps:
        policy = load_checkpoint(policy_spec(promoted_models(config.policy)[0]).folder)
        obstacle = corrections_obstacle(policy, subgoals, tasks)
        method = choose_method(config.method, obstacle)
        recipe = config.fit.recipe(policy)
        fallback = method == "hindsight" and config.method is None
        on_message(
            f"method: {method}" + (f"; corrections don't apply: {obstacle}" if fallback else "")
        )
    finetunes = config.finetune.steps > 0
    if finetunes and (obstacle := finetuning_obstacle(subgoals, tasks)):
        on_message(f"the subgoal generator stays as it is: {obstacle}")
        finetunes = False
    if not config.fit.steps and not finetunes:
        raise ConfigError(
            "neither policy nor subgoal generator learns: fit or finetune needs steps above 0"
        )
    return Learning(config, method, recipe, finetunes)


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
    cache = run.folder / "frames"
    opened = open_store(store, read_only=True)
    frames = build_frames(opened, Query(), recipe.policy.resolution, cache)
    source = Source("pretraining", frames, 1.0, recipe.goals)
    if regenerate is None:
        return source
    return replace(source, generated_goals=regenerate(frames, cache / "demonstrations.npz"))
