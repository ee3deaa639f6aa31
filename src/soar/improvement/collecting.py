"""Collection of one round's episodes into a run's store."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_fleet
from soar.data.store.lance import open_store
from soar.errors import SoarError
from soar.improvement.run import Run
from soar.rollout.callbacks import Callback
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig
from soar.types import Query
from soar.utils.signals import stopping


class Amount(NamedTuple):
    """Size of a round's collection."""

    episodes: int
    """Number of episodes of all stations together."""
    minutes: float = 0.0
    """Duration after which fewer are enough [min]; 0 for no limit. A collection that is resumed has it once more."""
    least_episodes: int = 1
    """Number of episodes that are collected however long they take."""


def collect_round(
    run: Run,
    round: int,
    stations: Sequence[StationConfig],
    models: ModelsConfig,
    config: CollectionConfig,
    amount: Amount,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Collect until the run's store holds a round's episodes of the stations' scenes; resumes.

    Args:
        run: the run, whose store is filled.
        round: number of the round.
        stations: the stations.
        models: the models.
        config: how the stations collect; the round is filled in.
        amount: number of episodes, and how long they may take.
        callbacks: called back by stations in this process.

    Raises:
        SoarError: the stations stopped before that, for instance because a person is needed.
        Stopped: a signal stopped them after the running episode.
    """
    store = open_store(run.store, create=True)
    scenes = tuple(dict.fromkeys(s.scene_info.name for s in stations))
    query = Query(scenes=scenes, rounds=(round,))
    done = sum(c.attempts for c in store.history(query).values())
    if done >= amount.episodes:
        return
    job = CollectionJob(
        run.store,
        models,
        replace(config, round=round),
        amount.episodes - done,
        amount.minutes / 60 if amount.minutes else None,
        run.record().config_hash if (run.folder / "run.json").exists() else "",
        least_episodes=max(0, min(amount.least_episodes, amount.episodes) - done),
    )
    began, stop = time.monotonic(), threading.Event()
    with stopping(stop, raises=True):
        summary = run_fleet(stations, job, stop=stop, callbacks=callbacks)
    late = job.hours is not None and time.monotonic() - began >= 3600 * job.hours
    late = late and summary.episodes >= job.least_episodes and len(summary.broken) < len(stations)
    if summary.episodes < amount.episodes - done and not late:
        why = f"; broken: {', '.join(summary.broken)}" if summary.broken else ""
        raise SoarError(
            f"collection ended after {done + summary.episodes} of {amount.episodes} episodes{why}"
        )
