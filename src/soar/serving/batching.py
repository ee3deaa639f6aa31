"""Requests of all clients, gathered into batches for one thread, so that the event loop never runs a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from soar.errors import ModelUnavailable, SoarError

Q = TypeVar("Q")
R = TypeVar("R")
RunBatch: TypeAlias = Callable[[Sequence[Q]], Sequence[R | SoarError]]
"""Returns the reply to each request, or the error that its client gets."""


@dataclass(eq=False)
class _Entry(Generic[Q, R]):
    """Requests that stay together, and their replies."""

    order: int
    requests: Sequence[Q]
    since_s: float
    replies: asyncio.Future[Sequence[R | SoarError]]


class Batcher(Generic[Q, R]):
    """Gatherer of requests.

    A batch begins when every connected client has a request, or the oldest one has waited for `wait_s`. Requests that
    arrive while a batch runs form the next one. In a batch they are in the order of their clients, so that clients in
    lockstep always share the same batch.
    """

    def __init__(self, run: RunBatch[Q, R], wait_s: float = 0.005, largest: int = 64) -> None:
        """Prepare.

        Args:
            run: runs a batch in the thread; what it raises becomes the reply to all of its requests.
            wait_s: longest wait for other clients.
            largest: most requests of a batch, unless a single submission has more.
        """
        self.batches = self.requests = 0
        """Numbers of batches and of requests so far."""
        self._run, self._wait_s, self._largest = run, wait_s, largest
        self._clients = 0
        self._waiting: list[_Entry[Q, R]] = []
        self._arrived = asyncio.Event()
        self._gathering: asyncio.Task[None] | None = None
        self._thread, self._closed = ThreadPoolExecutor(1, "model"), False

    @contextmanager
    def client(self) -> Iterator[None]:
        """Count a client as connected."""
        self._clients += 1
        try:
            yield
        finally:
            self._clients -= 1
            self._arrived.set()

    async def submit(self, requests: Sequence[Q], order: int = 0) -> list[R]:
        """Return the replies to requests that stay in one batch.

        Args:
            requests: at least one.
            order: number of the client.

        Raises:
            SoarError: the error of the first request that failed.
        """
        loop = asyncio.get_running_loop()
        entry: _Entry[Q, R] = _Entry(order, requests, loop.time(), loop.create_future())
        self._waiting.append(entry)
        self._arrived.set()
        if self._gathering is None or self._gathering.done():
            self._gathering = loop.create_task(self._work())
        replies: list[R] = []
        for reply in await entry.replies:
            if isinstance(reply, SoarError):
                raise reply
            replies.append(reply)
        return replies

    def close(self) -> None:
        """Let the thread end once the requests so far are answered."""
        self._closed = True
        if self._gathering is None or self._gathering.done():
            self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        while self._waiting:
            await self._wait_for_others()
            batch = self._take()
            flat = [request for entry in batch for request in entry.requests]
            self.batches += 1
            self.requests += len(flat)
            loop = asyncio.get_running_loop()
            try:
                replies = iter(await loop.run_in_executor(self._thread, self._replies, flat))
            except RuntimeError as error:  # the thread has ended
                replies = iter([ModelUnavailable(str(error))] * len(flat))
            for entry in batch:
                own = [next(replies) for _ in entry.requests]
                if not entry.replies.done():  # the client may have gone
                    entry.replies.set_result(own)
        if self._closed:
            self._thread.shutdown(wait=False)

    async def _wait_for_others(self) -> None:
        loop = asyncio.get_running_loop()
        until = self._waiting[0].since_s + self._wait_s
        while len(self._waiting) < self._clients and (left := until - loop.time()) > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return

    def _take(self) -> list[_Entry[Q, R]]:
        """Remove the oldest requests, and return them in the order of their clients."""
        count, size = 1, len(self._waiting[0].requests)
        for entry in self._waiting[1:]:
            size += len(entry.requests)
            if size > self._largest:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return sorted(taken, key=lambda e: e.order)

    def _replies(self, requests: Sequence[Q]) -> Sequence[R | SoarError]:
        """Return the reply to each request, or an error for each."""
        try:
            replies = list(self._run(requests))
        except SoarError as error:
            return [error] * len(requests)
        except BaseException as error:  # noqa: BLE001 (a model's own code may raise anything)
            text = " ".join(str(error).split())[:200]
            return [ModelUnavailable(f"{type(error).__name__}: {text}")] * len(requests)
        if len(replies) != len(requests):
            wrong = f"the model gave {len(replies)} replies to {len(requests)} requests"
            return [ModelUnavailable(wrong)] * len(requests)
        return replies
