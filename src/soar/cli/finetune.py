"""`soar subgoals finetune`: a subgoal generator learns from the robots' own episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from soar.cli.options import FLAT, OUT, saved_config
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.finetune_subgoals import FinetuneSubgoalsConfig
from soar.registry import COMPACT


def finetune(
    store: Path,
    out: Annotated[Path, OUT],
    config: Annotated[FinetuneSubgoalsConfig, FLAT],
    corrections: CorrectionsConfig,
    scenes: tuple[str, ...] = (),
    subgoals: str = COMPACT,
    workers: Annotated[int, Ge(1)] = 2,
) -> None:
    """Fine-tune a compact subgoal generator on the robots' own episodes, failures included.

    Judged episodes suffice: nobody labels anything. It needs tasks of one grasp and one release, some grasps that
    held, and one camera for each scene. `soar improve` does this by itself.

    Example:
        soar subgoals finetune --store /data/kitchen --out finetuned/first
        soar collect --store /data/kitchen --subgoals finetuned/first --episodes 100

    Args:
        store: the episodes' store.
        out: the new generator's folder.
        config: optimization and data.
        corrections: constants of the labels.
        scenes: scenes of the episodes; by default all of the store's.
        subgoals: generator to begin with, "compact" or a folder.
        workers: number of processes that make samples of other scenes.
    """
    from soar.data.store.lance import open_store
    from soar.improvement.methods.corrections.finetune_subgoals import finetune_subgoals
    from soar.improvement.methods.corrections.planner import queries_by_scene
    from soar.pretraining.keypoint_samples import other_scene_samples
    from soar.types import Query

    episodes = open_store(store, read_only=True)
    queries = queries_by_scene(episodes, Query(scenes=scenes))
    with saved_config(finetune, out):
        result = finetune_subgoals(
            episodes, queries, subgoals, out, config, corrections, other_scene_samples, workers
        )
    print(f"{out}: {result.step} steps, loss {result.loss:.4f}; use it with --subgoals {out}")
