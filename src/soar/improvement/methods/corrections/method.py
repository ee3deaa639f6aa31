"""Scripted corrections as a `LearningMethod` and as a stage that fine-tunes the subgoal generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from soar.checkpoint import Checkpoint
from soar.checkpoint import load as load_checkpoint
from soar.contract.compare import differences
from soar.contract.contract import WIDOWX
from soar.data.mixture import Source
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.finetune_subgoals import (
    FinetuneSubgoalsConfig,
    OtherSamples,
    finetune_subgoals,
)
from soar.improvement.methods.corrections.labels import correction_sources, make_corrections
from soar.improvement.methods.corrections.planner import queries_by_scene
from soar.improvement.methods.method import MethodName, OwnEpisodes
from soar.registry import subgoals_spec
from soar.subgoals.compact.generator import KIND
from soar.training.keypoint_predictor import net_config
from soar.types import Outcome, Task


@dataclass(frozen=True)
class Corrections:
    """Actions that a scripted plan would have taken in all own episodes. Not in the paper."""

    config: CorrectionsConfig
    resolution: int
    """Height and width of the policy's images in pixels."""
    workers: int
    """Threads that decode episodes."""
    name: ClassVar[MethodName] = "corrections"
    outcomes: ClassVar[tuple[Outcome, ...]] = ()

    def sources(self, own: OwnEpisodes, share: float) -> list[Source]:
        """See `LearningMethod.sources`."""
        store = own.open_store()
        frames = make_corrections(
            store,
            queries_by_scene(store, own.query),
            own.subgoals,
            own.run.subgoals_folder(own.round).parent / "frames",  # decoded by the fine-tuning
            self.resolution,
            self.config,
            self.workers,
        )
        return correction_sources(frames, share)


@dataclass(frozen=True)
class SubgoalFinetuning:
    """Fine-tuning of the subgoal generator on all own episodes, failures included."""

    config: FinetuneSubgoalsConfig
    corrections: CorrectionsConfig
    others: OtherSamples
    """Makes the keypoint samples of other scenes."""
    workers: int
    """Processes that make them."""

    def __call__(self, own: OwnEpisodes, out: Path) -> None:
        """Write the new generator to `out`. Raises ConfigError: nothing can be learned."""
        store = own.open_store()
        queries = queries_by_scene(store, own.query)
        finetune_subgoals(
            store, queries, own.subgoals, out, self.config, self.corrections, self.others, self.workers
        )  # fmt: skip


def finetuning_obstacle(subgoals: str, tasks: Sequence[Task]) -> str:
    """Return why fine-tuning the subgoal generator doesn't apply; empty where it does."""
    spec = subgoals_spec(subgoals)
    if not spec.is_compact or not net_config(load_checkpoint(spec.folder, KIND)).predict_keypoints:
        return f"the subgoal generator '{subgoals}' has no keypoint predictor"
    if not any(task.skill for task in tasks):
        return (
            "no task is one grasp and one release (put, take out, move, open, close, fold, unfold)"
        )
    return ""


def corrections_obstacle(policy: Checkpoint, subgoals: str, tasks: Sequence[Task]) -> str:
    """Return why corrections of a policy don't apply; empty where they do."""
    if policy.kind != "gcbc":
        return f"the policy is {policy.kind}, which does not reach goal images"
    found = [d for d in differences(policy.contract, WIDOWX) if not d.is_warning]
    if found:
        return f"the policy drives another arm: its {found[0].field} is {found[0].left}, not {found[0].right}"
    return finetuning_obstacle(subgoals, tasks)
