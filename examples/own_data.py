"""The data is yours: an episode store read with Lance alone and with soar, and a policy trained on it.

    python examples/own_data.py           collects four toy episodes, reads them, trains six steps

With a store of your own: `python examples/own_data.py STORE`. Its format: docs/data-format.md.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np

from soar import (
    CollectionConfig,
    CollectionJob,
    ModelsConfig,
    Query,
    StationConfig,
    build_frames,
    open_store,
    run_fleet,
)
from soar.data.mixture import Source
from soar.data.relabel import Uniform
from soar.training.policy import debug, train_policy


def collect_some(store: Path) -> None:
    """Four episodes of the toy robot, as `soar collect` would store them."""
    toy = "python:soar.robots.toy_models:Toy"
    names = ModelsConfig(vlm=f"{toy}VLM", subgoals=f"{toy}Subgoals", policy=f"{toy}Policy")
    run_fleet(
        [StationConfig("toy1", "toy")], CollectionJob(store, names, CollectionConfig(), episodes=4)
    )


def read_without_soar(store: Path) -> None:
    """Rows are a Lance table, an episode's steps a Lance file, frames ordinary JPEG or PNG."""
    import lance
    from lance.file import LanceFileReader
    from PIL import Image

    rows = lance.dataset(str(store / "episodes.lance")).to_table(columns=["id", "outcome"])
    id = rows["id"][0].as_py()
    steps = LanceFileReader(str(store / "steps" / id[:8] / f"{id}.lance")).read_all().to_table()
    first = Image.open(io.BytesIO(steps["image"][0].as_py()))
    actions = np.array(steps["executed"].to_pylist()[:-1], np.float32)
    print(f"with Lance: {len(rows)} rows; {id} has {len(steps)} frames of {first.size} px")
    print(f"  and {actions.shape[0]} actions, the first of them {actions[0].round(3)}")


def read_with_soar(store: Path) -> None:
    """The same in typed values: summaries that match a query, whole episodes, counts per task."""
    episodes = open_store(store, read_only=True)
    for summary in episodes.query(Query(outcomes=("success",), limit=2)):
        images = episodes.load(summary.id).images
        print(f"with soar: {summary.instruction}: {len(images)} frames of {images.shape[1:]}")
    for task, count in episodes.history().items():
        print(f"  {task}: {count.successes} of {count.attempts}")


def train(store: Path, folder: Path) -> Path:
    """Frames decoded once at the policy's resolution; hindsight goals; a very small policy, six steps."""
    recipe = debug("gcbc")  # compact("gcbc") fits a CPU, paper("gcbc") has the paper's every number
    frames = build_frames(
        open_store(store, read_only=True), Query(), recipe.policy.resolution, folder / "frames"
    )
    source = Source("own", frames, weight=1.0, goals=Uniform(0, 12), sum_steps=2)
    _, result = train_policy(recipe, [source], folder / "policy")
    print(f"trained: step {result.step}, loss {result.loss:.2f}; checkpoint in {folder / 'policy'}")
    return folder / "policy"


def main(store: Path | None = None, folder: Path | None = None) -> Path:
    """Read a store and train on it; without one, on episodes of the toy robot."""
    folder = folder or Path(tempfile.mkdtemp(prefix="soar-"))
    if store is None:
        store = folder / "store"
        collect_some(store)
    read_without_soar(store)
    read_with_soar(store)
    return train(store, folder)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
