from dataclasses import replace

import numpy as np
import pytest
from tests.practice.camera import BESIDE, HEIGHT, TIP_M, arm, errand, seen, world

from soar.errors import ConfigError
from soar.practice.moments import own_moments
from soar.practice.plans import plan
from soar.subgoals.moments import SOONEST


def test_failed_attempts_are_labelled_where_the_thing_really_was() -> None:
    frames, reader, places = world([0.0] * 6 + [0.04] * 6)
    moments = own_moments(frames, reader)
    which = moments.images[:, 0, 0, 0]
    truth = seen(places - [0, 0, TIP_M - HEIGHT + 0.01])  # the fingertips around it
    off = np.linalg.norm(moments.points[:, 0] - truth[which], axis=-1)
    reaching = moments.states[:, 6] > 0.6
    assert set(which) == set(range(12))
    assert np.median(off[(which >= 6) & reaching]) < 0.025 < np.linalg.norm(BESIDE)


def test_what_comes_is_what_an_able_hand_would_do_from_there() -> None:
    frames, reader, places = world([0.0] * 6 + [0.04] * 6)
    moments, off = own_moments(frames, reader), []
    for k in np.flatnonzero(moments.images[:, 0, 0, 0] >= 6):
        states, *_ = plan(moments.states[k], errand(places[moments.images[k, 0, 0, 0]]), False)
        then = arm(states[[SOONEST + 1]])[0, 0]
        off.append(np.linalg.norm(moments.later[k, 0, 2] - then))
    assert np.median(off) < 0.04
    assert np.isnan(moments.later[moments.images[:, 0, 0, 0] >= 6][:, :, 3:5]).all()


def test_nothing_was_ever_held() -> None:
    frames, reader, _ = world([0.04] * 8)
    with pytest.raises(ConfigError, match="held"):
        own_moments(frames, reader)


def test_a_scene_of_drawers_alone_is_told_apart() -> None:
    frames, reader, _ = world([0.0] * 8)
    drawers = [replace(e, instruction="open the drawer") for e in frames.episodes]
    with pytest.raises(ConfigError, match="grasp a thing"):
        own_moments(replace(frames, episodes=tuple(drawers)), reader)
