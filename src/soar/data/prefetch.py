"""Prefetching of batches in a background thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = np.ndarray | Tensor
Batches: TypeAlias = Callable[[int, int, slice], Mapping[str, Array]]
"""`batches(step, size, rows)`: some rows of the batch of `size` samples of a step.

A pure function: the same step gives the same batch on every call, in every process. Draw random numbers from
`step_rng(seed, step)` for all `size` samples, then gather only `rows`.
"""


def step_rng(seed: int, step: int) -> np.random.Generator:
    """Return a step's random generator, which is the same whether training reached the step or resumed there."""
    return np.random.default_rng((seed, step))


class Prefetcher:
    """Iterator over parts of batches on the device, a few ahead of the reader."""

    def __init__(
        self,
        batches: Batches,
        size: int,
        parts: Iterable[tuple[int, slice]],
        device: torch.device,
        depth: int = 3,
    ) -> None:
        """Start the thread.

        Args:
            batches: source of the batches.
            size: samples of a batch.
            parts: (step, rows) in the order of reading.
            device: target of the tensors.
            depth: parts that are kept ahead.
        """
        self.waited_s = 0.0
        """Time that the reader has waited for data [s]; the reader may reset it."""
        self._device = device
        self._queue: queue.Queue[dict[str, Tensor] | BaseException | None] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(batches, size, parts), name="prefetch", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while True:
            start = time.perf_counter()
            item = self._queue.get()
            self.waited_s += time.perf_counter() - start
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stop the thread. Can be called twice."""
        self._stopped.set()
        self._thread.join()

    def _work(self, batches: Batches, size: int, parts: Iterable[tuple[int, slice]]) -> None:
        try:
            for step, rows in parts:
                if not self._put(to_device(batches(step, size, rows), self._device)):
                    return
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            self._put(error)

    def _put(self, item: dict[str, Tensor] | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


def to_device(batch: Mapping[str, Array], device: torch.device) -> dict[str, Tensor]:
    """Copy arrays to a device, through pinned memory where that makes the copy asynchronous."""
    tensors = {
        k: v if isinstance(v, Tensor) else torch.from_numpy(np.ascontiguousarray(v))
        for k, v in batch.items()
    }
    if device.type == "cuda":
        tensors = {k: v.pin_memory() for k, v in tensors.items()}
    return {k: v.to(device, non_blocking=True) for k, v in tensors.items()}
