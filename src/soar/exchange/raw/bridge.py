"""Raw folders of BridgeData V2.

    .../<date>/raw/traj_group<i>/traj<j>/
        images0/im_0.jpg ...                   T + 1 images of each camera
        obs_dict.pkl                           "full_state" (T + 1, 7), "time_stamp" (T + 1)
        policy_out.pkl                         T actions, or T dictionaries with "actions"
        lang.txt                               instruction; a second line "confidence: 0.9" of the labeler

Images stay the files that they are. Until 22 July 2021 an image was one step late: those trajectories begin with the
second one. Pickles are read without running anything: only numbers, texts and arrays of numpy are accepted.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from soar.contract.contract import WIDOWX, Camera, Contract
from soar.errors import ConfigError
from soar.exchange.raw.trajectories import TrajectoryReader
from soar.exchange.recording import Recording, nominal_times
from soar.types import Provenance, Verdict
from soar.utils.files import read_bytes, read_text

MARK = "obs_dict.pkl"
"""File that every trajectory has."""
_LATE_UNTIL = datetime(2021, 7, 23, tzinfo=UTC)
_HARMLESS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
}


class BridgeReader(TrajectoryReader):
    """Reads all trajectories below a folder.

    Args:
        folder: the folder.
        least_confidence: instructions that their labeler was less sure of are dropped, in [0, 1].
    """

    def __init__(self, folder: Path, least_confidence: float = 0.0) -> None:
        super().__init__(folder, MARK)
        self._least_confidence = least_confidence

    def recording(self, path: Path) -> Recording:
        """See `TrajectoryReader.recording`."""
        observations = load_pickle(path / MARK)
        if not isinstance(observations, dict) or "full_state" not in observations:
            raise ConfigError(f"{path / MARK} holds no 'full_state'")
        states = _matrix(observations["full_state"], path / MARK)
        actions = _matrix(_actions(path / "policy_out.pkl"), path / "policy_out.pkl")
        cameras = _cameras(path)
        counts = {len(states), *map(len, cameras.values())}
        if counts != {len(actions) + 1} or len(actions) < 2:
            raise ConfigError(
                f"{path} has {len(actions)} actions, {len(states)} states and "
                f"{[len(images) for images in cameras.values()]} images; valid: one action less"
            )
        started = _date(path)
        times = _times(observations.get("time_stamp"), len(states))
        late = started is not None and started < _LATE_UNTIL
        if late:
            states, times, actions = states[1:], times[1:], actions[:-1]
            cameras = {name: images[1:] for name, images in cameras.items()}
        place = path.relative_to(self.folder).parts
        return Recording(
            key="/".join(place),
            instruction=self._instruction(path / "lang.txt"),
            cameras=cameras,
            actions=actions,
            commanded=actions,
            states=states,
            times_s=times - times[0],
            verdict=Verdict("unknown"),
            provenance=Provenance(
                station=self.name,
                regime="real",
                scene="/".join(place[:-4]),
                seed=0,
                started_s=_started(observations.get("time_stamp"), started),
                checkpoint="person",
                code_version="BridgeData V2, raw" + (", images one step late" if late else ""),
            ),
            contract=_contract(cameras),
        )

    def _instruction(self, path: Path) -> str:
        """Return the first instruction; "" if there is none, or its labeler was too unsure."""
        lines = [line.strip() for line in read_text(path).splitlines()] if path.exists() else []
        texts = [line for line in lines if line and "confidence" not in line]
        sure = [float(n) for line in lines for n in re.findall(r"confidence\D*([\d.]+)", line)]
        if not texts or (sure and sure[0] < self._least_confidence):
            return ""
        return texts[0]


class _Unpickler(pickle.Unpickler):
    """Reads numbers, texts and arrays; anything else in a pickle is refused before it could run."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the functions that make arrays. Raises UnpicklingError."""
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it would run {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load_pickle(path: Path) -> Any:
    """Read a pickle of plain values and arrays. Raises ConfigError: it holds anything else, or is damaged."""
    try:
        return _Unpickler(io.BytesIO(read_bytes(path)), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError,
            ImportError) as error:  # fmt: skip
        raise ConfigError(f"{path} can't be read: {str(error).splitlines()[0][:120]}") from error


def _actions(path: Path) -> list[Any]:
    steps = load_pickle(path)
    if not isinstance(steps, list | np.ndarray):
        raise ConfigError(f"{path} holds no list of actions")
    return [step["actions"] if isinstance(step, dict) else step for step in steps]


def _matrix(values: Any, path: Path) -> Float32[np.ndarray, "_rows 7"]:
    try:
        matrix: Float32[np.ndarray, "_rows 7"] = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path} holds no rows of numbers") from error
    if matrix.ndim != 2 or matrix.shape[1] != 7:
        raise ConfigError(f"{path} holds numbers of shape {matrix.shape}; valid: rows of 7")
    return matrix


def _cameras(path: Path) -> dict[str, list[bytes]]:
    """Return the image files of each camera; images0 is the primary one."""
    folders = sorted(
        (f for f in path.glob("images*") if re.fullmatch(r"images\d+", f.name)),
        key=lambda folder: int(folder.name[6:]),
    )
    found: dict[str, list[bytes]] = {}
    for folder in folders:
        files = list(folder.glob("im_*.jpg"))
        ordered = [folder / f"im_{k}.jpg" for k in range(len(files))]
        name = "image_" + folder.name[6:] if found else "primary"
        found[name] = [read_bytes(file) for file in ordered]
    if not found:
        raise ConfigError(f"{path} holds no folder images0")
    return found


def _contract(cameras: dict[str, list[bytes]]) -> Contract:
    return Contract(cameras=tuple(Camera(name) for name in cameras))


def _times(stamps: Sequence[float] | None, count: int) -> Float64[np.ndarray, " _count"]:
    """Return the times of the observations [s]; nominal ones if the clock stood or was lost."""
    times = np.asarray(stamps if stamps is not None else [], np.float64)
    if times.shape != (count,) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        return nominal_times(count, WIDOWX.period_s)
    return times


def _started(stamps: Sequence[float] | None, date: datetime | None) -> float:
    """Return the Unix time of the first observation; that of the folder's date, or 0, if no clock tells it."""
    if stamps is not None and len(stamps) and 1e9 < float(stamps[0]) < 1e11:
        return float(stamps[0])
    return date.timestamp() if date else 0.0


def _date(path: Path) -> datetime | None:
    """Return the date in a trajectory's path, as 2022-01-01_00-00-00."""
    for part in reversed(path.parts):
        if re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", part):
            return datetime.strptime(part, "%Y-%m-%d_%H-%M-%S").replace(tzinfo=UTC)
    return None
