"""Stored episodes and running stations in Rerun, which shows one robot in depth; needs the extra `rerun`.

Entities: the task, each camera's images, the subgoal, states and actions by the contract's names, the verdict,
and a critic's value where there is one; on the timelines "step" and "time".
"""

from __future__ import annotations

import math
import time
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from soar.collection.live import LivePicture, picture_time, read_picture, touch_watched
from soar.collection.sharing import Watcher
from soar.data.store.lance import LanceStore, open_store
from soar.data.store.steps import camera_columns, read_table, table_numbers
from soar.errors import ConfigError, StoreError
from soar.types import EpisodeSummary, Query
from soar.watch.values import EpisodeValuer

if TYPE_CHECKING:
    import rerun as rr

_POLL_S = 0.1
"""Interval in seconds at which a running station is looked at."""
_STORE_S = 2.0
"""Interval in seconds at which the store is asked for its new episodes."""


def new_recording(name: str) -> rr.RecordingStream:
    """Return an empty recording with our layout. Raises ConfigError: Rerun isn't installed."""
    try:
        import rerun as rr
        import rerun.blueprint as rrb
    except ImportError:
        raise ConfigError("this needs Rerun: pip install 'soar-robot[rerun]'") from None
    recording = rr.RecordingStream("soar", recording_id=name)
    images = rrb.Vertical(rrb.Spatial2DView(origin="/image"), rrb.Spatial2DView(origin="/subgoal"))
    numbers = [rrb.TimeSeriesView(origin=f"/{name}") for name in ("state", "action", "value")]
    words = rrb.Vertical(rrb.TextDocumentView(origin="/task"), rrb.TextLogView(origin="/verdict"))
    recording.send_blueprint(rrb.Blueprint(rrb.Horizontal(images, rrb.Vertical(*numbers), words)))
    return recording


def log_episode(recording: rr.RecordingStream, store: LanceStore, id: str, critic: str = "") -> int:
    """Log a stored episode, its images as they are stored.

    Args:
        recording: the recording.
        store: the episode's store.
        id: the episode.
        critic: folder of the critic whose value is logged; empty for none.

    Returns:
        Number of frames.

    Raises:
        StoreError: there is no such episode, or it is damaged.
        CheckpointError, ConfigError: the critic can't be loaded, or doesn't fit the episode.
    """
    import rerun as rr

    episode, table = store.summary(id), read_table(store.steps_path(id))
    actions, _, states, times_s = table_numbers(table)
    contract, times_s = episode.contract, times_s - times_s[0]
    recording.log("task", rr.TextDocument(episode.instruction), static=True)
    for column in camera_columns(table):
        _images(recording, column, table[column].to_pylist(), times_s)
    _images(recording, "subgoal", table["subgoal"].to_pylist(), times_s)
    _numbers(recording, "state", contract.state.names, states, times_s)
    _numbers(recording, "action", contract.action.names, actions, times_s)
    if critic:
        values = EpisodeValuer(critic)(store.load(id))
        _numbers(recording, "value", ("q",), values[:, None], times_s)
    _set_time(recording, len(actions), duration=times_s[-1])
    recording.log("verdict", rr.TextLog(verdict_line(episode)))
    return len(times_s)


def verdict_line(episode: EpisodeSummary) -> str:
    """Describe an episode's verdict in one line."""
    verdict = episode.verdict
    p = "" if verdict.p_success is None else f" {verdict.p_success:.2f}"
    judged = f" by {verdict.judge}: {verdict.question} {verdict.raw}" if verdict.judge else ""
    return f"{verdict.outcome}{p}{judged}"


def follow_station(
    recording: rr.RecordingStream, store: Path, station: str, stop: Event | None = None
) -> None:
    """Log what a running station publishes for the page of `soar watch`, until `stop` is set, or an interruption.

    That is its newest step a few times a second, and the verdict of each episode that it stores. The station never
    waits for the viewer.

    Args:
        recording: the recording.
        store: the store's folder.
        station: name of the station.
        stop: ends it; None goes on.
    """
    stop, elsewhere = stop or Event(), Watcher(store)
    written, subgoal, next_s, began_s = 0, "", 0.0, time.time()
    since_s: float | None = None
    while not stop.wait(_POLL_S):
        touch_watched(store)
        elsewhere.touch()
        now = picture_time(store, station)
        if now != written and (picture := read_picture(store, station)):
            written = now
            log_picture(recording, picture, is_new_subgoal=picture.subgoal != subgoal)
            subgoal = picture.subgoal
        if time.monotonic() > next_s:
            next_s = time.monotonic() + _STORE_S
            since_s = _log_verdicts(recording, store, station, since_s, began_s)


def log_picture(
    recording: rr.RecordingStream, picture: LivePicture, *, is_new_subgoal: bool = True
) -> None:
    """Log what a station saw and did at one step."""
    import rerun as rr

    _set_time(recording, picture.step, timestamp=picture.time_s)
    recording.log("task", rr.TextDocument(picture.task))
    recording.log("image", _encoded(picture.image))
    if is_new_subgoal and picture.subgoal:
        recording.log("subgoal", _encoded(picture.subgoal))
    for kind, numbers in (("state", picture.state), ("action", picture.action)):
        for name, value in numbers.items():
            recording.log(f"{kind}/{name}", rr.Scalars(value))


def _log_verdicts(
    recording: rr.RecordingStream, store: Path, station: str, since_s: float | None, began_s: float
) -> float | None:
    """Log the verdicts of a station's new episodes.

    Args:
        recording: the recording.
        store: the store's folder.
        station: name of the station.
        since_s: what the last call returned; None for the first one, to which what is stored isn't new.
        began_s: Unix time from which episodes that began later are new to the first call, too.

    Returns:
        Unix time from which the next episode begins; `since_s` if the store is away.
    """
    import rerun as rr

    query = Query(stations=(station,), since_s=since_s)
    try:
        found = list(open_store(store, read_only=True).query(query))
    except StoreError:
        return since_s
    for episode in found:
        if since_s is not None or episode.provenance.started_s >= began_s:
            recording.set_time("time", timestamp=time.time())
            recording.log("verdict", rr.TextLog(f"{episode.instruction}: {verdict_line(episode)}"))
    last_s = max((e.provenance.started_s for e in found), default=None)
    return since_s or 0.0 if last_s is None else math.nextafter(last_s, math.inf)


def _set_time(recording: rr.RecordingStream, step: int, **when: Any) -> None:
    recording.set_time("step", sequence=step)
    recording.set_time("time", **when)


def _columns(steps: Sequence[int], times_s: Float[np.ndarray, " n"]) -> list[Any]:
    import rerun as rr

    return [rr.TimeColumn("step", sequence=steps), rr.TimeColumn("time", duration=times_s[steps])]


def _images(
    recording: rr.RecordingStream,
    entity: str,
    files: Sequence[bytes | None],
    times_s: Float[np.ndarray, " n"],
) -> None:
    """Log image files, None where there is none."""
    import rerun as rr

    steps = [step for step, data in enumerate(files) if data is not None]
    if not steps:
        return
    blobs = [files[step] for step in steps]
    kinds = ["image/png" if data[:4] == b"\x89PNG" else "image/jpeg" for data in blobs if data]
    columns = rr.EncodedImage.columns(blob=blobs, media_type=kinds)
    recording.send_columns(entity, _columns(steps, times_s), columns)


def _numbers(
    recording: rr.RecordingStream,
    entity: str,
    names: Sequence[str],
    rows: Float[np.ndarray, "m d"],
    times_s: Float[np.ndarray, " n"],
) -> None:
    import rerun as rr

    indexes = _columns(range(len(rows)), times_s)
    for name, values in zip(names, rows.T, strict=True):
        recording.send_columns(f"{entity}/{name}", indexes, rr.Scalars.columns(scalars=values))


def _encoded(text: str) -> rr.EncodedImage:
    import rerun as rr

    return rr.EncodedImage(contents=b64decode(text), media_type="image/jpeg")
