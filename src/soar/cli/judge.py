"""`soar judge`: verdicts of stored episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from soar.cli.collect import models_default
from soar.cli.options import FLAT, PRESET, default_of
from soar.rollout.models import ModelsConfig


@default_of(models_default)
def judge(
    store: Path,
    use: Annotated[ModelsConfig, FLAT],
    models: Annotated[Path | None, PRESET] = None,
) -> None:
    """Judge episodes whose verdict is unknown, as after an outage of the VLM.

    Episodes that the success detector can't judge stay unknown.

    Example: `soar judge --store s --vlm compact`.

    Args:
        store: the episode store's folder.
        use: the models, of which only vlm, detector and threshold count here.
        models: YAML file with defaults of vlm, detector and threshold.
    """
    from soar.collection.judging import judge_unknown, unknown
    from soar.data.store.lance import open_store
    from soar.utils.progress import progress_bar

    episodes = open_store(store)
    total = len(unknown(episodes))
    with progress_bar() as bar:
        row = bar.add_task("judging", total=total, note="")
        outcomes = judge_unknown(
            episodes,
            use.load_detector(),
            on_judged=lambda id, verdict: bar.update(
                row, advance=1, note=f"{id} {verdict.outcome}"
            ),
        )
    counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items()))
    print(f"{total} episodes judged: {counts or 'nothing to do'}")
