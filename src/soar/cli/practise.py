"""`soar subgoals practise`: what robots' own episodes teach an imagination."""

from __future__ import annotations

from pathlib import Path

import tyro

from soar.improvement.methods.corrections.finetune_subgoals import FinetuneSubgoalsConfig


def practise(
    store: Path,
    out: Path,
    config: tyro.conf.OmitArgPrefixes[FinetuneSubgoalsConfig],
    scenes: tuple[str, ...] = (),
    subgoals: str = "compact",
    workers: int = 2,
) -> None:
    """Teach a compact imagination where things are seen, from robots' own episodes, failures too.

    Judged episodes are enough: nobody labels anything. It needs tasks that are a grasp and a release, some of
    them held, and one camera for each scene. `soar improve` does this by itself.

    Example: `soar subgoals practise --store /data/kitchen --out taught/first`, and then
    `soar collect --subgoals taught/first`.

    Args:
        store: the episodes.
        out: the taught imagination's folder.
        config: how it learns.
        scenes: whose episodes; all of the store's when left out.
        subgoals: the imagination to begin with, "compact" or a folder.
        workers: processes that look at other scenes.
    """
    from soar.data.store.lance import open_store
    from soar.improvement.methods.corrections.config import CorrectionsConfig
    from soar.improvement.methods.corrections.finetune_subgoals import finetune_subgoals
    from soar.improvement.methods.corrections.planner import queries_by_scene
    from soar.pretraining.keypoint_samples import other_scene_samples
    from soar.types import Query

    episodes = open_store(store, read_only=True)
    queries = queries_by_scene(episodes, Query(scenes=scenes))
    result = finetune_subgoals(
        episodes, queries, subgoals, out, config, CorrectionsConfig(), other_scene_samples, workers
    )
    print(f"{out}: {result.step} steps, loss {result.loss:.4f}; use it with --subgoals {out}")
