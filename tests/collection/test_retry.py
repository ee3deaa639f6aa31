import threading
import time

import pytest

from soar.collection.retry import Backoff, Retrier
from soar.errors import ModelUnavailable


class Outage:
    """Down for so many calls."""

    def __init__(self, calls: int) -> None:
        self.left, self.calls = calls, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.left:
            raise ModelUnavailable("connection refused")
        return "here"


def retrier(max_outage_s: float = 5.0, stop: threading.Event | None = None) -> Retrier:
    backoff = Backoff(initial_s=0.001, max_s=0.01, max_outage_s=max_outage_s)
    return Retrier("model", backoff, stop or threading.Event())


def test_a_short_outage_is_waited_for():
    outage = Outage(3)
    assert retrier().call(outage) == "here"
    assert outage.calls == 4


def test_a_long_outage_is_reported_and_then_asked_about_once_a_call():
    outage, patient = Outage(10**6), retrier(max_outage_s=0.05)
    with pytest.raises(ModelUnavailable):
        patient.call(outage)
    time.sleep(0.06)
    before = outage.calls
    for _ in range(5):
        with pytest.raises(ModelUnavailable):
            patient.call(outage)
    assert outage.calls == before + 5
    outage.left = 0
    assert patient.call(outage) == "here"
    assert patient.down_since is None


def test_a_wish_to_stop_ends_the_waiting():
    stop = threading.Event()
    backoff = Backoff(initial_s=60.0, max_outage_s=3600.0)
    threading.Timer(0.1, stop.set).start()
    start = time.monotonic()
    with pytest.raises(ModelUnavailable):
        Retrier("model", backoff, stop).call(Outage(10**6))
    assert time.monotonic() - start < 30
