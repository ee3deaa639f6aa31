"""Where training writes its numbers: a JSONL file always; TensorBoard, wandb or trackio when asked."""

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
    """Takes named numbers, one set for each logged step."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of one step."""

    def close(self) -> None:
        """Flush and release. Nothing is logged after."""


def open_trackers(
    folder: Path, names: Sequence[TrackerName], start: int, settings: Mapping[str, Any]
) -> list[Tracker]:
    """The JSONL log of a run's folder, continued after step `start`, and the trackers asked for.

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
    """One JSON object a line. What an interrupted run logged after its last save is cut off."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path = path
        kept = [row for row in read_lines(path) if row["step"] <= start]
        write_bytes(path, "".join(json.dumps(row) + "\n" for row in kept).encode())

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line."""
        append_lines(self._path, [{"step": step, **metrics}])

    def close(self) -> None:
        """Nothing is held open."""


class TensorBoard:
    """Curves for `tensorboard --logdir`."""

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
        """Write what is buffered."""
        self._writer.close()


class RunTracker:
    """wandb, or trackio, which speaks the same three words: init, log, finish."""

    def __init__(self, package: str, folder: Path, settings: Mapping[str, Any]) -> None:
        try:
            self._package: Any = importlib.import_module(package)
        except ImportError as error:
            raise _not_installed(package) from error
        self._package.init(project="soar", name=folder.name, config=dict(settings))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send one set of metrics."""
        self._package.log(dict(metrics), step=step)

    def close(self) -> None:
        """End the run."""
        self._package.finish()


class Meter:
    """Means over the steps since the last reading, and the speed."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._began = self._window = time.perf_counter()
        self._waited_s = 0.0
        self._sums: dict[str, Tensor] = {}
        self._steps = self._all_steps = 0

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Count one step; nothing is read from the device yet."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0) + value
        self._steps += 1
        self._all_steps += 1

    def read(self, mean: Callable[[Tensor], Tensor], waited_s: float) -> dict[str, float]:
        """The window's means, reduced over processes by `mean`, and the start of a new window.

        `waited_s`: time spent waiting for data since the beginning.
        """
        means = {k: float(mean(v / self._steps)) for k, v in self._sums.items()}
        now = time.perf_counter()
        elapsed = now - self._window
        means["samples_per_s"] = self._steps * self._batch_size / elapsed
        means["wait_share"] = (waited_s - self._waited_s) / elapsed
        self._window, self._waited_s, self._steps, self._sums = now, waited_s, 0, {}
        return means

    def total(self, waited_s: float) -> tuple[float, float]:
        """Samples a second, and the share of time spent waiting, since the beginning."""
        elapsed = time.perf_counter() - self._began
        return self._all_steps * self._batch_size / elapsed, waited_s / elapsed


def _not_installed(name: str) -> ConfigError:
    return ConfigError(f"tracker '{name}' is not installed: pip install {name}")
