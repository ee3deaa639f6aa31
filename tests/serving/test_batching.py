"""Requests of all clients share batches, in order, and one client's failure is its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from soar.errors import BadOutput, ModelUnavailable
from soar.serving.batching import Batcher


class Doubler:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()

    def __call__(self, requests: Sequence[int]) -> list[Any]:
        self.batches.append(list(requests))
        self.threads.add(threading.get_ident())
        return [BadOutput("thirteen") if r == 13 else 2 * r for r in requests]


def test_eight_clients_are_one_batch_in_their_order() -> None:
    double = Doubler()

    async def main() -> list[list[int]]:
        batcher: Batcher[int, int] = Batcher(double, wait_s=5)
        from contextlib import ExitStack

        with ExitStack() as clients:
            for _ in range(8):
                clients.enter_context(batcher.client())
            asked = [batcher.submit([i], order=i) for i in (3, 1, 7, 0, 2, 6, 5, 4)]
            return await asyncio.gather(*asked)

    assert asyncio.run(main()) == [[6], [2], [14], [0], [4], [12], [10], [8]]
    assert double.batches == [list(range(8))]
    assert threading.get_ident() not in double.threads, "the event loop ran the model"


def test_a_client_that_is_alone_does_not_wait() -> None:
    async def main() -> float:
        batcher: Batcher[int, int] = Batcher(Doubler(), wait_s=5)
        with batcher.client():
            began = time.monotonic()
            await batcher.submit([1])
            return time.monotonic() - began

    assert asyncio.run(main()) < 2


def test_a_silent_client_is_waited_for_only_so_long() -> None:
    double = Doubler()

    async def main() -> None:
        batcher: Batcher[int, int] = Batcher(double, wait_s=0.01)
        with batcher.client(), batcher.client():
            await batcher.submit([1])

    asyncio.run(main())
    assert double.batches == [[1]]


def test_requests_of_one_message_stay_together() -> None:
    double = Doubler()

    async def main() -> None:
        batcher: Batcher[int, int] = Batcher(double, wait_s=0.01, largest=4)
        with batcher.client(), batcher.client(), batcher.client():
            await asyncio.gather(*(batcher.submit([i] * 3, order=i) for i in range(3)))

    asyncio.run(main())
    assert double.batches == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]


def test_an_error_is_its_own_clients() -> None:
    async def main() -> list[Any]:
        batcher: Batcher[int, int] = Batcher(Doubler(), wait_s=5)
        with batcher.client(), batcher.client():
            asked = [batcher.submit([13]), batcher.submit([1])]
            return await asyncio.gather(*asked, return_exceptions=True)

    bad, good = asyncio.run(main())
    assert isinstance(bad, BadOutput)
    assert good == [2]


def test_a_models_exception_is_one_line_and_the_next_batch_runs() -> None:
    calls = []

    def run(requests: Sequence[int]) -> list[int]:
        calls.append(requests)
        if len(calls) == 1:
            raise RuntimeError("cuda\nis gone")
        return list(requests)

    async def main() -> list[int]:
        batcher: Batcher[int, int] = Batcher(run)
        with pytest.raises(ModelUnavailable, match="RuntimeError: cuda is gone"):
            await batcher.submit([1])
        return await batcher.submit([2])

    assert asyncio.run(main()) == [2]


def test_a_client_that_goes_does_not_stop_the_others() -> None:
    started, go_on = threading.Event(), threading.Event()

    def run(requests: Sequence[int]) -> list[int]:
        started.set()
        go_on.wait(5)
        return list(requests)

    async def main() -> list[int]:
        batcher: Batcher[int, int] = Batcher(run, wait_s=0)
        gone = asyncio.create_task(batcher.submit([1]))
        await asyncio.to_thread(started.wait, 5)
        other = asyncio.create_task(batcher.submit([2]))
        gone.cancel()
        go_on.set()
        return await other

    assert asyncio.run(main()) == [2]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_replies_is_every_clients_error(count: int) -> None:
    async def main() -> list[Any]:
        batcher: Batcher[int, int] = Batcher(lambda requests: [1] * count, wait_s=5)
        with batcher.client(), batcher.client():
            asked = asyncio.gather(*map(batcher.submit, ([1], [2])), return_exceptions=True)
            return await asyncio.wait_for(asked, 10)

    for error in asyncio.run(main()):
        assert isinstance(error, ModelUnavailable)
        assert f"{count} replies to 2 requests" in str(error)


def test_whatever_ends_a_batch_its_clients_are_told() -> None:
    def run(requests: Sequence[int]) -> list[int]:
        raise SystemExit("the library ends its process")

    async def main() -> None:
        batcher: Batcher[int, int] = Batcher(run)
        with pytest.raises(ModelUnavailable, match="SystemExit: the library"):
            await asyncio.wait_for(batcher.submit([1]), 10)
        batcher.close()
        with pytest.raises(ModelUnavailable, match="after shutdown"):
            await asyncio.wait_for(batcher.submit([1]), 10)

    asyncio.run(main())


def test_requests_that_wait_at_the_close_are_answered() -> None:
    started, go_on = threading.Event(), threading.Event()

    def run(requests: Sequence[int]) -> list[int]:
        started.set()
        go_on.wait(5)
        return list(requests)

    async def main() -> tuple[list[int], list[int]]:
        batcher: Batcher[int, int] = Batcher(run, wait_s=0)
        first = asyncio.create_task(batcher.submit([1]))
        await asyncio.to_thread(started.wait, 5)
        second = asyncio.create_task(batcher.submit([2]))
        await asyncio.sleep(0)
        batcher.close()
        go_on.set()
        return await asyncio.wait_for(asyncio.gather(first, second), 10)

    assert list(asyncio.run(main())) == [[1], [2]]
