import time

import pytest

from soar.clock import Clock, Metronome


def test_a_fast_clock_sleeps_less():
    clock, start = Clock(speed=50), time.monotonic()
    clock.sleep(2.0)
    assert clock.now() >= 2.0
    assert time.monotonic() - start < 1.0


def test_ticks_keep_their_period_over_time():
    clock = Clock(speed=5)
    metronome = Metronome(clock, 0.2)
    metronome.tick()
    start = clock.now()
    for _ in range(20):
        metronome.tick()
    assert clock.now() - start == pytest.approx(4.0, abs=0.4)
    assert metronome.jitter.ticks == 21


def test_after_a_late_tick_it_does_not_hurry():
    clock = Clock(speed=2)
    metronome = Metronome(clock, 0.2)
    metronome.tick()
    clock.sleep(0.8)
    metronome.tick()
    late = clock.now()
    metronome.tick()
    assert clock.now() - late >= 0.19
    assert metronome.jitter.missed >= 1
    assert metronome.jitter.worst_s >= 0.6
    assert "by over half a period" in str(metronome.jitter)


def test_after_a_rest_the_next_tick_is_due_at_once():
    clock = Clock()
    metronome = Metronome(clock, 0.2)
    metronome.tick()
    clock.sleep(0.5)
    metronome.rest()
    start = clock.now()
    metronome.tick()
    assert clock.now() - start < 0.15
    assert metronome.jitter.worst_s < 0.15
