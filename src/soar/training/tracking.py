"""Experiment trackers: a JSONL file always; TensorBoard, wandb or trackio on request."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from soar.errors import ConfigError
from soar.utils.files import append_lines, read_lines, write_bytes

TrackerName: TypeAlias = Literal["tensorboard", "wandb", "trackio"]


@runtime_checkable
class Tracker(Protocol):
    """A log of metrics by step."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of one step."""

    def close(self) -> None:
        """Flush and release; nothing is logged afterwards."""


def open_trackers(
    folder: Path, names: Sequence[TrackerName], start: int, settings: Mapping[str, Any]
) -> list[Tracker]:
    """Open the JSONL log of a run's folder, continued after step `start`, and the requested trackers.

    Raises:
        ConfigError: a tracker's package isn't installed.
    """
    trackers: list[Tracker] = [JsonLines(folder / "log.jsonl", start)]
    for name in names:
        if name == "tensorboard":
            trackers.append(TensorBoard(folder / "tensorboard", start))
        else:
            trackers.append(RunTracker(name, folder, settings))
    return trackers


class JsonLines:
    """A log of one JSON object per line. Lines that an interrupted run wrote after its last save are removed."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path = path
        kept = [row for row in read_lines(path) if row["step"] <= start]
        write_bytes(path, "".join(json.dumps(row) + "\n" for row in kept).encode())

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line."""
        append_lines(self._path, [{"step": step, **metrics}])

    def close(self) -> None:
        """Do nothing: no file is held open."""


class TensorBoard:
    """A log for `tensorboard --logdir`."""

    def __init__(self, folder: Path, start: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _not_installed("tensorboard") from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=start + 1 if start else None)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write the buffered points."""
        self._writer.close()


class RunTracker:
    """A run in wandb, or in trackio, which has the same interface."""

    def __init__(self, package: str, folder: Path, settings: Mapping[str, Any]) -> None:
        try:
            self._package: Any = importlib.import_module(package)
        except ImportError as error:
            raise _not_installed(package) from error
        self._package.init(project="soar", name=folder.name, config=dict(settings))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the metrics of one step."""
        self._package.log(dict(metrics), step=step)

    def close(self) -> None:
        """End the run."""
        self._package.finish()


class Meter:
    """Means of metrics over the steps since the last reading, and throughput."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._began = self._window = time.perf_counter()
        self._waited_s = 0.0
        self._sums: dict[str, Tensor] = {}
        self._steps = self._all_steps = 0

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add a step's metrics, without reading them from the device."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0) + value
        self._steps += 1
        self._all_steps += 1

    def read(self, mean: Callable[[Tensor], Tensor], waited_s: float) -> dict[str, float]:
        """Return the means of the steps since the last reading.

        Args:
            mean: reduction over processes.
            waited_s: time spent waiting for data since the start [s].
        """
        means = {k: float(mean(v / self._steps)) for k, v in self._sums.items()}
        now = time.perf_counter()
        elapsed = now - self._window
        means["samples_per_s"] = self._steps * self._batch_size / elapsed
        means["wait_share"] = (waited_s - self._waited_s) / elapsed
        self._window, self._waited_s, self._steps, self._sums = now, waited_s, 0, {}
        return means

    def total(self, waited_s: float) -> tuple[float, float]:
        """Return samples per second, and the share of time spent waiting, since the start."""
        elapsed = time.perf_counter() - self._began
        return self._all_steps * self._batch_size / elapsed, waited_s / elapsed


def _not_installed(name: str) -> ConfigError:
    return ConfigError(f"tracker '{name}' is not installed: pip install {name}")
