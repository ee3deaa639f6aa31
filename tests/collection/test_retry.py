import threading
import time

import pytest

from soar.collection.retry import Backoff, Retrier
from soar.errors import ModelUnavailable, StoreError


class Outage:
    """A function that is unavailable for the first calls."""

    def __init__(self, calls: int) -> None:
        self.left, self.calls = calls, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.left:
            raise ModelUnavailable("connection refused")
        return "result"


def retrier(max_outage_s: float = 5.0, stop: threading.Event | None = None) -> Retrier:
    backoff = Backoff(initial_s=0.001, max_s=0.01, max_outage_s=max_outage_s)
    return Retrier("model", backoff, stop or threading.Event())


def test_a_call_is_repeated_during_a_short_outage():
    outage = Outage(3)
    assert retrier().call(outage) == "result"
    assert outage.calls == 4


def test_a_long_outage_is_raised_and_later_calls_try_once():
    outage, retrying = Outage(10**6), retrier(max_outage_s=0.05)
    with pytest.raises(ModelUnavailable):
        retrying.call(outage)
    time.sleep(0.06)
    before = outage.calls
    for _ in range(5):
        with pytest.raises(ModelUnavailable):
            retrying.call(outage)
    assert outage.calls == before + 5
    outage.left = 0
    assert retrying.call(outage) == "result"
    assert retrying.down_since is None


def test_stopping_ends_a_pause():
    stop = threading.Event()
    backoff = Backoff(initial_s=60.0, max_outage_s=3600.0)
    threading.Timer(0.1, stop.set).start()
    start = time.monotonic()
    with pytest.raises(ModelUnavailable):
        Retrier("model", backoff, stop).call(Outage(10**6))
    assert time.monotonic() - start < 30


def test_other_errors_can_be_retried_and_each_failure_is_handled():
    seen: list[str] = []
    backoff = Backoff(initial_s=0.001, max_s=0.01)
    handle = Retrier(
        "store", backoff, threading.Event(), StoreError, lambda error: seen.append(str(error))
    )
    failures = iter(["full", "still full"])

    def append() -> str:
        for message in failures:
            raise StoreError(message)
        return "stored"

    assert handle.call(append) == "stored"
    assert seen == ["full", "still full"]
