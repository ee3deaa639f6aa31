"""Steps that a person chose in the policy's place: found in a store, and weighted, kept or left out in training."""

from dataclasses import replace

import numpy as np
import pytest

from soar.data.frame_cache import build_frames
from soar.data.idle_frames import drop_idle_frames
from soar.data.mixture import Mixture, Source
from soar.data.takeovers import weight_takeovers, with_takeovers
from soar.types import Query

STEPS, TAKEN = 8, 3
ACTORS = (*["policy"] * (STEPS - TAKEN), *["person"] * TAKEN)


@pytest.fixture
def source(store, make_episode, tmp_path) -> Source:
    store.append(make_episode(0, STEPS))
    store.append(replace(make_episode(1, STEPS), actors=ACTORS))
    frames = build_frames(store, Query(), 8, tmp_path / "frames")
    return Source("own", with_takeovers(store, frames), 0.3)


def steps_of(source: Source) -> list[bool]:
    assert source.frames.taken_over is not None
    taken: list[bool] = source.frames.taken_over[source.steps()[0]].tolist()
    return taken


def test_taken_steps_are_those_of_the_store(source):
    assert sum(steps_of(source)) == TAKEN
    assert steps_of(source)[-TAKEN:] == [True] * TAKEN


def test_a_store_without_takeovers_changes_nothing(store, make_episode, tmp_path):
    store.append(make_episode(0, STEPS))
    frames = build_frames(store, Query(), 8, tmp_path / "frames")
    assert with_takeovers(store, frames) is frames
    source = Source("own", frames, 0.3)
    assert weight_takeovers(source, 0) == [source]


def test_weight_one_keeps_them_and_zero_leaves_them_out(source):
    assert weight_takeovers(source, 1) == [source]
    (own,) = weight_takeovers(source, 0)
    assert own.weight == 0.3
    assert not any(steps_of(own))


def test_a_weight_counts_for_each_step_relative_to_the_policys(source):
    own, taken = weight_takeovers(source, 4)
    assert all(steps_of(taken))
    assert own.weight + taken.weight == pytest.approx(0.3)
    each = taken.weight / TAKEN, own.weight / (2 * STEPS - TAKEN)
    assert each[0] / each[1] == pytest.approx(4)
    assert set(Mixture([own, taken], 0).provenance()) == {"own", "own takeovers"}


def test_idle_frames_can_be_dropped_before(source):
    short = drop_idle_frames(source, 1e-9)
    assert short.frames.taken_over is not None
    assert len(short.frames.taken_over) == len(short.frames)
    own, taken = weight_takeovers(short, 2)
    assert all(steps_of(taken))
    assert not any(steps_of(own))


def test_an_episode_of_takeovers_alone_is_one_source(store, make_episode, tmp_path):
    store.append(replace(make_episode(0, STEPS), actors=("person",) * STEPS))
    frames = with_takeovers(store, build_frames(store, Query(), 8, tmp_path / "frames"))
    (taken,) = weight_takeovers(Source("own", frames, 0.3), 2)
    assert (taken.name, taken.weight) == ("own takeovers", 0.3)
    assert np.all(steps_of(taken))
