"""Whole runs with everything converted: SuSIE's subgoals, a GCBC policy, V-GPS's critic (tiny and random)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from soar import checkpoint as checkpoints
from soar.cli import main
from soar.data.store.lance import open_store
from soar.evaluation.results import open_evaluation
from soar.sim.scenes.catalog import load_scene

TASK = "put the green block in the wooden bowl"
SENTENCES = tuple(task.instruction for task in load_scene("1").tasks)


@pytest.fixture(scope="module")
def released(golden: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything converted."""
    out = tmp_path_factory.mktemp("released")
    rng = np.random.default_rng(0)
    vectors = {s: (rng.standard_normal(512) / 512**0.5).tolist() for s in SENTENCES}
    (out / "muse.json").write_text(json.dumps(vectors))
    susie = golden("susie")
    main(f"convert susie {susie}/susie --base {susie}/stable-diffusion --out {out}/susie".split())
    for kind, vectors_option in (("gcbc", ""), ("vgps", f"--vectors {out}/muse.json")):
        folder = golden(kind)
        settings = {**json.loads((folder / "settings.json").read_text()), "image_size": 64}
        (out / f"{kind}.json").write_text(json.dumps(settings))
        main(
            f"convert {kind} {folder}/checkpoint_500 --settings {out}/{kind}.json {vectors_option} --out "
            f"{out}/{kind}".split()
        )
    return out


@pytest.mark.slow
def test_a_station_collects_and_an_evaluation_ends_with_converted_models(
    released: Path, tmp_path: Path
) -> None:
    models = f"--subgoals susie:{released}/susie?size=64&steps=2"
    policy = f"steered:{released}/gcbc,{released}/vgps?count=4"
    main(
        f"collect --store {tmp_path}/store --scene 1 --episodes 2 --policy {policy} {models}".split()
    )
    store = open_store(tmp_path / "store", read_only=True)
    for episode in store.query():
        whole = store.load(episode.id)
        assert len(whole) == 100
        assert [s.image.shape for s in whole.subgoals] == [(64, 64, 3)] * 5
        assert np.ptp(whole.commanded[:, :6], axis=0).max() > 1e-4
        assert whole.provenance.checkpoint == checkpoints.load(released / "gcbc").id

    line = f"evaluate --checkpoint {policy} {models} --scene 1 --trials 1 --workers 1 --video-size 0 --out {tmp_path}/e"
    main([*line.split(), "--tasks", TASK])
    done = open_evaluation(tmp_path / "e")
    assert done.finished
    assert len(done.trials) == 1
