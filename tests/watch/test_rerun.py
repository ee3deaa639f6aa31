"""Recordings for Rerun, read back with its own SDK."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from soar.cli import main
from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_fleet
from soar.data.store.lance import open_store
from soar.data.store.steps import read_table
from soar.rollout.callbacks import Callback
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig, Station
from soar.rollout.station_config import StationConfig
from soar.types import Step
from soar.watch import rerun_view
from two_processes import fill

TOYS = ("VLM", "Subgoals", "Policy")
pytest.importorskip("rerun", reason="needs the extra: pip install 'soar-robot[rerun]'")


class Slowly(Callback):
    """Steps that take so long that they can be watched: the toy robot's take less than a millisecond."""

    def on_step(self, station: Station, step: Step) -> None:
        time.sleep(0.03)


def read(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of a recording by entity, each a value and its timelines."""
    from rerun.chunk import RrdReader

    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        times = [i for i, f in enumerate(batch.schema) if pa.types.is_timestamp(f.type)]
        for i in times:  # nanoseconds, which Python's own datetime doesn't have
            batch = batch.set_column(i, batch.schema.names[i], batch.column(i).cast(pa.int64()))
        found[chunk.entity_path] += batch.to_pylist()
    return found


def values(rows: list[dict[str, Any]], component: str) -> list[Any]:
    return [row[name][0] for row in rows for name in row if name.endswith(f":{component}")]


def test_a_recording_holds_the_episode_as_it_is_stored(tmp_path: Path, capsys) -> None:
    store = fill(tmp_path / "store")
    id = next(iter(store.query())).id
    out = tmp_path / "episode.rrd"
    main(["data", "view", id[:-3], "--store", str(tmp_path / "store"), "--out", str(out)])
    assert "13 frames" in capsys.readouterr().out
    found, episode = read(out), store.load(id)
    files = read_table(store.steps_path(id))["image"].to_pylist()
    assert [bytes(b) for b in values(found["/image"], "blob")] == files
    assert [row["step"] for row in found["/image"]] == list(range(13))
    for i, name in enumerate(episode.contract.state.names):
        shown = values(found[f"/state/{name}"], "scalars")
        np.testing.assert_allclose(shown, episode.states[:, i], rtol=1e-6)
    assert len(found["/action/gripper"]) == 12
    assert values(found["/verdict"], "text") == ["success"]
    assert values(found["/task"], "text") == ["put the spoon in the pot"]
    assert "/value/q" not in found


def test_a_critics_value_of_each_action_is_recorded(tmp_path: Path, monkeypatch) -> None:
    store = fill(tmp_path / "store")
    id = next(iter(store.query())).id
    curve = np.linspace(0, 1, 12, dtype=np.float32)
    monkeypatch.setattr(rerun_view, "EpisodeValuer", lambda folder: lambda episode: curve)
    with rerun_view.new_recording("x") as recording:
        recording.save(tmp_path / "x.rrd")
        rerun_view.log_episode(recording, store, id, "critic")
    assert values(read(tmp_path / "x.rrd")["/value/q"], "scalars") == pytest.approx(curve.tolist())


def test_a_running_station_is_followed_with_the_verdicts_of_its_episodes(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(rerun_view, "_STORE_S", 0.2)
    store, stop = open_store(tmp_path / "store", create=True), threading.Event()
    vlm, subgoals, policy = (f"python:soar.robots.toy_models:Toy{n}" for n in TOYS)
    models = ModelsConfig(vlm, subgoals, policy)
    job = CollectionJob(tmp_path / "store", models, CollectionConfig(EpisodeConfig(2, 12)), 3)
    with rerun_view.new_recording("arm") as recording:
        recording.save(tmp_path / "live.rrd")
        args = recording, tmp_path / "store", "arm", stop
        follower = threading.Thread(target=rerun_view.follow_station, args=args)
        follower.start()
        run_fleet([StationConfig(name="arm", robot="toy")], job, callbacks=[Slowly()])
        time.sleep(1)
        stop.set()
        follower.join()
    found, stored = read(tmp_path / "live.rrd"), list(store.query())
    said = [f"{e.instruction}: {rerun_view.verdict_line(e)}" for e in stored]
    assert values(found["/verdict"], "text") == said
    assert len(said) == 3
    assert found["/image"]
    steps = [row["step"] for row in found["/image"]]
    assert [row["step"] for row in found["/state/z"]] == steps
    assert all(0 <= value <= 1 for value in values(found["/action/gripper"], "scalars"))


def test_the_verdict_of_the_episode_that_runs_at_the_beginning_is_recorded_too(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(rerun_view, "_STORE_S", 0.05)
    other = fill(tmp_path / "other")
    episode = other.load(next(iter(other.query())).id)
    old, running = (
        replace(episode, provenance=replace(episode.provenance, station="arm", started_s=s))
        for s in (time.time() - 60, time.time() - 30)
    )
    running = replace(running, instruction="fold it")
    store = open_store(tmp_path / "store", create=True)
    looked, stop, look = threading.Event(), threading.Event(), rerun_view._log_verdicts

    def looking(*args: Any) -> float | None:
        since_s = look(*args)
        looked.set()
        return since_s

    monkeypatch.setattr(rerun_view, "_log_verdicts", looking)
    store.append(old)
    with rerun_view.new_recording("arm") as recording:
        recording.save(tmp_path / "live.rrd")
        args = recording, tmp_path / "store", "arm", stop
        follower = threading.Thread(target=rerun_view.follow_station, args=args)
        follower.start()
        assert looked.wait(60)
        store.append(running)
        for _ in range(2):  # the first of which may have begun before
            looked.clear()
            assert looked.wait(60)
        stop.set()
        follower.join()
    assert values(read(tmp_path / "live.rrd")["/verdict"], "text") == ["fold it: success"]
