"""Clocks and metronomes, with a simulated `time` that advances only in `sleep`."""

import pytest

from soar.utils.clock import Clock, Metronome


class Time:
    """Substitute for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture(autouse=True)
def time(monkeypatch):
    time = Time()
    monkeypatch.setattr("soar.utils.clock.time", time)
    return time


def test_a_fast_clock_sleeps_less(time):
    clock = Clock(speed=50)
    clock.sleep(2.0)
    assert clock.now() == pytest.approx(2.0)
    assert time.now_s == pytest.approx(1000.04)


def test_ticks_keep_their_period_over_time():
    clock = Clock(speed=5)
    metronome = Metronome(clock, 0.2)
    metronome.tick()
    start = clock.now()
    for _ in range(20):
        metronome.tick()
    assert clock.now() - start == pytest.approx(4.0)
    assert metronome.jitter.ticks == 21


def test_a_metronome_does_not_catch_up_after_a_late_tick():
    clock = Clock(speed=2)
    metronome = Metronome(clock, 0.2)
    metronome.tick()
    clock.sleep(0.8)
    metronome.tick()
    late = clock.now()
    metronome.tick()
    assert clock.now() - late == pytest.approx(0.2)
    assert metronome.jitter.missed == 1
    assert metronome.jitter.worst_s == pytest.approx(0.6)
    assert "1 by over half a period" in str(metronome.jitter)


def test_after_a_reset_the_next_tick_is_due_at_once():
    clock = Clock()
    metronome = Metronome(clock, 0.2)
    metronome.tick()
    clock.sleep(0.5)
    metronome.reset()
    start = clock.now()
    metronome.tick()
    assert clock.now() == start
    assert metronome.jitter.worst_s == 0
