"""Frame cache: decoded episodes at a model's resolution, in memory-mapped arrays for training.

A folder of four `.npy` files and one JSON file, which any machine with numpy can read. The JSON is written last: a
folder without it is an interrupted build, which the next call completes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from soar.contract.compare import differences
from soar.contract.contract import WIDOWX, Camera, Contract
from soar.data.store.disk import first_line, flush
from soar.data.store.rows import from_row, summary_of, to_json, to_row
from soar.data.store.steps import Steps
from soar.errors import ConfigError, StoreError
from soar.types import Episode, EpisodeSummary, Observation, Query
from soar.utils.arrays import map_arrays
from soar.utils.config import from_plain
from soar.utils.files import read_json, replace_file, write_bytes

if TYPE_CHECKING:
    from soar.data.store.lance import LanceStore

_ABOUT = "frames.json"
_ARRAYS = {"images": "u1 n r r 3", "states": "f4 n s", "actions": "f4 n a", "starts": "i8 e"}
VOUCH_EVERY_S = 10.0
"""Time between two notes of what is decoded, each of which waits for the disk; a kill costs the work since the last."""
ActionLabels: TypeAlias = Literal["actions", "commanded"]
"""The executed actions, or the commanded ones, without the disturbances injected into them (Laskey et al. 2017)."""
_Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Frames:
    """Episodes one after another; an episode of T steps has T + 1 consecutive frames."""

    images: UInt8[np.ndarray, "n r r 3"]
    """Memory-mapped when loaded from a folder."""
    states: Float32[np.ndarray, "n state"]
    actions: Float32[np.ndarray, "n action"]
    """Executed or commanded (`ActionLabels`); the row of an episode's last frame is zero and never used."""
    starts: Int64[np.ndarray, "_e"]
    """Episode i is frames starts[i] : starts[i + 1]; one more entry than episodes."""
    episodes: tuple[EpisodeSummary, ...]
    version: int = 0
    """Store version that the episodes were read at; 0 if they come from elsewhere."""
    query: Query = field(default_factory=Query)
    """Query that selected the episodes."""
    fingertips: Float32[np.ndarray, "n 2"] | None = None
    """Image position of the fingertips, x right and y down in [-1, 1], NaN outside the image; None if the camera's
    pose is unknown. Not stored on disk."""
    taken_over: Bool[np.ndarray, " n"] | None = None
    """Whether a person or an expert chose a frame's action in the policy's place; None if that isn't known. Not stored
    on disk (`soar.data.takeovers`)."""
    other_images: Mapping[str, UInt8[np.ndarray, "n r r 3"]] = field(default_factory=dict)
    """Images of further cameras, by name, in the same order."""

    @property
    def contract(self) -> Contract:
        """Meaning of actions and states. Raises ConfigError: the episodes have several."""
        return common_contract(self.episodes)

    def observations(self, indices: Sequence[int] | np.ndarray) -> list[Observation]:
        """Return some frames as observations."""
        return [Observation(self.images[i], self.states[i], 0.0) for i in indices]

    def episode_of(self, indices: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Return the index of the episode that each frame belongs to."""
        return np.searchsorted(self.starts, indices, "right") - 1

    @property
    def resolution(self) -> int:
        """Height and width of the images in pixels."""
        return int(self.images.shape[1])

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.images)

    @classmethod
    def load(cls, folder: str | Path) -> Frames:
        """Map a finished folder into memory. Raises StoreError: it is missing, unfinished, or damaged."""
        folder = Path(folder)
        try:
            about = read_json(folder / _ABOUT)
            cameras = about.get("cameras", [])
            layout = _ARRAYS | {f"images_{name}": "u1 n r r 3" for name in cameras}
            maps = map_arrays(folder, layout)
            episodes = tuple(map(from_row, about["episodes"]))
            query = from_plain(Query, about["query"], folder / _ABOUT)
            starts, version = maps["starts"], int(about["version"])
            lengths = [e.length + 1 for e in episodes]
        except (ArithmeticError, LookupError, TypeError, ValueError, ConfigError, OSError) as error:
            raise StoreError(f"'{folder}' holds no finished frames: {error}") from error
        if starts.tolist() != np.cumsum([0, *lengths]).tolist() or starts[-1] != len(
            maps["images"]
        ):
            raise StoreError(
                f"'{folder}' holds no finished frames: starts.npy doesn't fit the episodes"
            )
        arrays = {name: array.view(np.ndarray) for name, array in maps.items()}  # faster to index
        others = {name: arrays.pop(f"images_{name}") for name in cameras}
        return cls(**arrays, episodes=episodes, version=version, query=query, other_images=others)

    def save(self, folder: str | Path, images: bool = True) -> None:
        """Write the arrays into a folder, and the JSON last. `images`: whether `images.npy` isn't there yet."""
        folder = Path(folder)
        arrays = {name: getattr(self, name) for name in _ARRAYS if images or name != "images"}
        arrays |= {f"images_{name}": images for name, images in self.other_images.items()}
        for name, array in arrays.items():
            with replace_file(folder / f"{name}.npy") as file:
                np.save(file, array)
        _write_about(folder, self)

    @classmethod
    def from_episodes(
        cls, episodes: Sequence[Episode], resolution: int, cameras: Sequence[str] = ()
    ) -> Frames:
        """Make frames of episodes in memory, in order; their ids are their indices. See `build_frames`."""
        summaries = [summary_of(str(i), e) for i, e in enumerate(episodes)]
        frames = _allocate(summaries, resolution, None, cameras)
        for i, episode in enumerate(episodes):
            _fill(frames, i, episode, episode.actions)
        return frames


def build_frames(
    store: LanceStore,
    query: Query,
    resolution: int,
    folder: str | Path,
    workers: int | None = None,
    labels: ActionLabels = "actions",
    cameras: Sequence[str] = (),
) -> Frames:
    """Return the frames of the episodes that match, from the cache or decoded into it.

    An interrupted build is completed; two processes that need the same frames build them once.

    Args:
        store: the episodes.
        query: selection of episodes; a `version` of None is the newest.
        resolution: height and width [px], by area averaging (`soar.utils.media.resize`).
        folder: any number of caches, one subfolder each. Its name is a hash of store, resolution and the episodes
            that the query matches at that version, so that other episodes added to the store don't cause a build.
        workers: threads that decode; None is one for each core.
        labels: which of an episode's actions.
        cameras: further cameras whose images are wanted.

    Raises:
        ConfigError: the episodes are of several arms, or have no such camera.
        StoreError: nothing matches, an episode is damaged, or the disk is full.
    """
    version = store.version if query.version is None else query.version
    query = replace(query, version=version)
    episodes = list(store.query(query))
    if not episodes:
        raise StoreError(f"no episode of '{store.path}' matches {_brief(query)}")
    known = common_contract(episodes).camera_names
    if unknown := [name for name in cameras if name not in known[1:]]:
        raise ConfigError(
            f"'{store.path}' has no further camera '{unknown[0]}'; valid: {', '.join(known[1:]) or 'none'}"
        )
    home = Path(folder) / _key(store.identity, resolution, labels, episodes, cameras)
    try:
        with locked(home):
            if not (home / _ABOUT).exists():
                _build(store, episodes, resolution, home, workers, query, labels, cameras)
    except OSError as error:
        raise StoreError(f"frames not built in '{home}': {first_line(error)}") from error
    return replace(Frames.load(home), query=query, version=version)


def _build(
    store: LanceStore,
    episodes: Sequence[EpisodeSummary],
    resolution: int,
    home: Path,
    workers: int | None,
    query: Query,
    labels: ActionLabels,
    cameras: Sequence[str],
) -> None:
    from soar.utils.progress import progress_bar

    frames = _allocate(episodes, resolution, home, cameras)
    frames = replace(frames, query=query, version=query.version or 0)
    done = _array(home / "done.npy", np.dtype(np.bool_), (len(episodes),))

    def decode(i: int) -> None:
        steps = store.steps(episodes[i].id)
        _fill(frames, i, steps, getattr(steps, labels))

    files = [home / f"{name}.npy" for name in (*_ARRAYS, *(f"images_{c}" for c in cameras))]
    missing = np.flatnonzero(~done).tolist()
    threads = workers or len(os.sched_getaffinity(0))
    with progress_bar() as bar, ThreadPoolExecutor(threads) as pool:
        task = bar.add_task("decoding episodes", total=len(episodes), note=f"{resolution} px")
        bar.advance(task, len(episodes) - len(missing))
        futures = {i: pool.submit(decode, i) for i in missing}
        vouched_s = time.monotonic()
        try:
            for future in as_completed(futures.values()):
                future.result()
                bar.advance(task)
                if time.monotonic() - vouched_s > VOUCH_EVERY_S:
                    _vouch(done, futures, files)
                    vouched_s = time.monotonic()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            _vouch(done, futures, files)
            raise
    flush(*files)
    _write_about(home, frames)
    (home / "done.npy").unlink()


def _vouch(done: _Array, futures: Mapping[int, Future[None]], files: Sequence[Path]) -> None:
    """Note which episodes are decoded, once their numbers are on the disk, so that no power cut leaves a false note."""
    decoded = [i for i, f in futures.items() if f.done() and not f.cancelled()]
    decoded = [i for i in decoded if futures[i].exception() is None]
    flush(*files, files[0].parent)
    done[decoded] = True


def common_contract(episodes: Sequence[EpisodeSummary]) -> Contract:
    """Return the contract that episodes share, with the further cameras that all have; without episodes the WidowX's.

    Raises:
        ConfigError: actions, states or periods mean different things; the message names the first difference.
    """
    first, *others = dict.fromkeys(e.contract for e in episodes) or (WIDOWX,)
    for other in others:
        found = [d for d in differences(first, other) if d.field != "cameras"]
        if found:
            raise ConfigError(
                f"episodes of several arms: {found[0]}; choose some by station or scene"
            )
    shared = set(first.camera_names[1:]).intersection(*(c.camera_names[1:] for c in others))
    cameras = [Camera(c.name) for c in first.cameras if c.name in shared]
    return replace(first, cameras=(Camera(first.cameras[0].name), *cameras))


def _allocate(
    episodes: Sequence[EpisodeSummary],
    resolution: int,
    folder: Path | None,
    cameras: Sequence[str] = (),
) -> Frames:
    contract = common_contract(episodes)
    starts = np.cumsum([0, *(e.length + 1 for e in episodes)], dtype=np.int64)
    n = int(starts[-1])

    def array(name: str, kind: type, *shape: int) -> _Array:
        if folder is None:
            return np.zeros(shape, kind)
        return _array(folder / f"{name}.npy", np.dtype(kind), shape)

    stored_starts = array("starts", np.int64, len(starts))
    stored_starts[:] = starts
    return Frames(
        images=array("images", np.uint8, n, resolution, resolution, 3),
        states=array("states", np.float32, n, contract.state.dim),
        actions=array("actions", np.float32, n, contract.action.dim),
        starts=stored_starts,
        episodes=tuple(episodes),
        other_images={
            name: array(f"images_{name}", np.uint8, n, resolution, resolution, 3)
            for name in cameras
        },
    )


def _fill(
    frames: Frames,
    i: int,
    steps: Steps | Episode,
    actions: Float32[np.ndarray, "_steps _action"],
) -> None:
    from soar.utils.media import resize

    first, end = int(frames.starts[i]), int(frames.starts[i + 1])
    if len(steps.images) != end - first:
        id = frames.episodes[i].id
        raise StoreError(f"episode '{id}' has {len(steps.images)} frames of {end - first}")
    frames.images[first:end] = resize(steps.images, frames.resolution)
    for name, array in frames.other_images.items():
        array[first:end] = resize(steps.other_images[name], frames.resolution)
    frames.states[first:end] = steps.states
    frames.actions[first : end - 1] = actions


def _array(path: Path, kind: np.dtype[Any], shape: tuple[int, ...]) -> _Array:
    """Map an array on disk: that of an interrupted build, or a new one of zeros."""
    try:
        array: _Array = np.load(path, mmap_mode="r+")
        if array.shape == shape and array.dtype == kind:
            return array
    except (OSError, ValueError):
        pass  # missing, or cut short
    draft = path.with_suffix(".draft")
    np.lib.format.open_memmap(draft, "w+", kind, shape).flush()
    try:
        with draft.open("r+") as file:  # a full disk is an error here, not a bus error later
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(draft))
    except OSError:
        draft.unlink()
        raise
    draft.rename(path)
    fresh: _Array = np.load(path, mmap_mode="r+")
    return fresh


def _write_about(folder: Path, frames: Frames) -> None:
    about = {
        "version": frames.version,
        "query": asdict(frames.query),
        "episodes": [to_row(e) for e in frames.episodes],
        "cameras": list(frames.other_images),
    }
    write_bytes(folder / _ABOUT, to_json(about).encode())


def _key(
    identity: str,
    resolution: int,
    labels: ActionLabels,
    episodes: Sequence[EpisodeSummary],
    cameras: Sequence[str],
) -> str:
    on_disk = "wanted" if labels == "commanded" else labels  # as caches of version 0.1 are named
    parts = [identity, resolution, on_disk, *((e.id, e.verdict.outcome) for e in episodes)]
    parts += [list(cameras)] if cameras else []
    return hashlib.sha256(to_json(parts).encode()).hexdigest()[:16]


def _brief(query: Query) -> str:
    chosen = {k: v for k, v in asdict(query).items() if v not in ((), None)}
    return ", ".join(f"{k}={v}" for k, v in chosen.items()) or "an empty query"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which the operating system releases if the process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
