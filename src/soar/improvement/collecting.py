"""Collection of one round's episodes into a run's store."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

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


def collect_round(
    run: Run,
    round: int,
    stations: Sequence[StationConfig],
    models: ModelsConfig,
    config: CollectionConfig,
    episodes: int,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Collect until the run's store holds a round's episodes of the stations' scenes; resumes.

    Args:
        run: the run, whose store is filled.
        round: number of the round.
        stations: the stations.
        models: the models.
        config: how the stations collect; the round is filled in.
        episodes: number of episodes of all stations together.
        callbacks: called back by stations in this process.

    Raises:
        SoarError: the stations stopped before that, for instance because a person is needed.
        Stopped: a signal stopped them after the running episode.
    """
    store = open_store(run.store, create=True)
    scenes = tuple(dict.fromkeys(s.scene_info.name for s in stations))
    query = Query(scenes=scenes, rounds=(round,))
    done = sum(c.attempts for c in store.history(query).values())
    if done >= episodes:
        return
    made_by = run.record().config_hash if (run.folder / "run.json").exists() else ""
    job = CollectionJob(
        run.store, models, replace(config, round=round), episodes - done, config_hash=made_by
    )
    stop = threading.Event()
    with stopping(stop, raises=True):
        summary = run_fleet(stations, job, stop=stop, callbacks=callbacks)
    if summary.episodes < episodes - done:
        why = f"; broken: {', '.join(summary.broken)}" if summary.broken else ""
        raise SoarError(
            f"collection ended after {done + summary.episodes} of {episodes} episodes{why}"
        )
