"""Batches made ahead of their use, on a thread of their own."""

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
"""`batches(step, size, rows)`: rows `rows` of the batch of `size` samples that belongs to `step`.

A pure function: the same step gives the same batch on every call, in every process. Draw what is
random from `step_rng(seed, step)` for all `size` samples, then gather only `rows`.
"""


def step_rng(seed: int, step: int) -> np.random.Generator:
    """The random numbers of one step: the same ones whether training got there or resumed there."""
    return np.random.default_rng((seed, step))


class Prefetcher:
    """Iterates over the wanted parts of batches, on the device, a few ahead of the reader."""

    def __init__(
        self,
        batches: Batches,
        size: int,
        parts: Iterable[tuple[int, slice]],
        device: torch.device,
        depth: int = 3,
    ) -> None:
        """`parts`: (step, rows) in the order of reading. `depth`: how many may wait to be read."""
        self.waited_s = 0.0
        """Time the reader has spent waiting; the reader may set it back to zero."""
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
        """Stop the thread. Safe to call twice."""
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
    """Arrays as tensors on a device, through pinned memory where that lets the copy overlap."""
    tensors = {
        k: v if isinstance(v, Tensor) else torch.from_numpy(np.ascontiguousarray(v))
        for k, v in batch.items()
    }
    if device.type == "cuda":
        tensors = {k: v.pin_memory() for k, v in tensors.items()}
    return {k: v.to(device, non_blocking=True) for k, v in tensors.items()}
