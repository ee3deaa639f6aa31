from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from tests.improvement.corrections.camera import BOWL, Reader, arm, seen, world

from soar.data.frame_cache import Frames
from soar.errors import ConfigError
from soar.improvement.methods.corrections.labels import own_corrections
from soar.types import Images, Observation


class Painter(Reader):
    """Paints nothing, but remembers where everything should be."""

    def picture(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        places: np.ndarray,
        rng: np.random.Generator,
    ) -> Images:
        """As `CompactSubgoals.picture`."""
        self.told = [*getattr(self, "told", []), *places]
        return np.stack([255 - o.image for o in observations])


class Corrected(NamedTuple):
    """Corrections of some made-up attempts, the first half of which hold the thing."""

    frames: Frames
    painter: Painter
    places: np.ndarray
    made: Frames
    state: np.ndarray
    action: np.ndarray
    then: np.ndarray
    which: np.ndarray


def corrected(shorts: list[float], pause: int = 0) -> Corrected:
    frames, reader, places = world(shorts)
    if pause:
        frames = waiting(frames, pause)
    painter = Painter(reader.things, reader.beside)
    made = own_corrections(frames, painter, 8)
    which = np.array([int(e.id) for e in made.episodes])
    return Corrected(
        frames, painter, places, made,
        made.states[0::2], made.actions[0::2], made.states[1::2], which,
    )  # fmt: skip


def waiting(frames: Frames, steps: int) -> Frames:
    """The same, but each episode begins with so many steps in which nothing moves."""
    rows = np.concatenate([np.r_[np.full(steps, a), a:b] for a, b in pairwise(frames.starts)])
    actions = frames.actions[rows]
    for k, first in enumerate(frames.starts[:-1]):
        at = first + k * steps
        actions[at : at + steps, :6] = 0
    starts = frames.starts + steps * np.arange(len(frames.starts))
    return replace(
        frames, images=frames.images[rows], states=frames.states[rows], actions=actions,
        starts=starts,
    )  # fmt: skip


@pytest.fixture(scope="module")
def some() -> Corrected:
    return corrected([0.0] * 6 + [0.04] * 6)


def test_in_failed_attempts_the_hand_should_have_gone_to_where_the_thing_really_was(
    some: Corrected,
) -> None:
    failed = some.which >= 6
    moves = np.linalg.norm(some.action[:, :2], axis=1) > 0
    reaching = failed & (some.state[:, 6] > 0.8) & moves
    assert reaching.sum() > 12
    to = (some.places[some.which, :2] - some.state[:, :2])[reaching]
    step, away = some.action[reaching, :2], np.linalg.norm(to, axis=1)
    cosine = (to * step).sum(1) / away / np.linalg.norm(step, axis=1)
    assert np.median(cosine) > 0.97
    assert (some.action[reaching, 6] == 1).all()
    assert (away > 0.025).all()  # nearer than that, nothing is said
    assert np.median(np.linalg.norm(some.action[reaching, :3], axis=1)) == pytest.approx(0.028)


def test_a_hand_that_held_the_thing_was_right_to_close_carry_and_let_go(some: Corrected) -> None:
    good = some.which < 6
    opened, closing = some.state[:, 6] > 0.8, some.action[:, 6] < 0.5
    closes = good & opened & closing
    assert closes.sum() == 24
    away = np.linalg.norm(some.state[closes, :2] - some.places[some.which[closes], :2], axis=1)
    assert away.max() < 0.015
    carries = good & ~opened & closing
    assert (some.then[carries, 2] > some.state[carries, 2] + 0.01).any()
    after = good & (some.state[:, 6] > 0.8) & ~closing & (some.action[:, 2] > 0.01)
    assert after.any()


def test_a_hand_that_rightly_let_go_is_told_so_wherever_the_container_is_read() -> None:
    class Unsteady(Painter):
        def find(self, observations: Sequence[Observation], words: Sequence[str]) -> np.ndarray:
            found = super().find(observations, words)
            found[:, 1, 0] += np.where([o.image[0, 0, 0] % 2 for o in observations], 0.4, -0.4)
            return found

    frames, reader, _ = world([0.0] * 6 + [0.04] * 6)
    made = own_corrections(frames, Unsteady(reader.things, reader.beside), 8)
    state, action = made.states[0::2], made.actions[0::2]
    around = (state[:, 6] > 0.1) & (state[:, 6] < 0.8)
    lets_go = around & (action[:, 6] == 1)
    assert lets_go.sum() >= 6 * 2
    assert np.linalg.norm(state[lets_go, :2] - BOWL[:2], axis=1).max() < 0.02
    far = np.linalg.norm(state[:, :2] - BOWL[:2], axis=1) > 0.03
    assert (action[around & far, 6] == 0).all()


def test_goals_are_painted_where_the_plan_leads_a_little_later(some: Corrected) -> None:
    told = np.array(some.painter.told)
    assert len(told) == len(some.made.episodes)
    np.testing.assert_allclose(told[:, 0], arm(some.then)[:, 0], atol=0.03)
    reaching = (some.then[:, 6] > 0.8) & (some.state[:, 6] > 0.8) & (some.which >= 6)
    off = told[reaching, 1] - seen(some.places - [0, 0, 0.005])[some.which[reaching]]
    assert np.median(np.linalg.norm(off, axis=1)) < 0.04
    goals = some.made.images[1::2]
    assert (goals == 255 - some.made.images[0::2]).all()


def test_a_hand_that_waits_is_corrected_once() -> None:
    shorts = [0.0] * 4 + [0.04] * 4
    quick, slow = corrected(shorts), corrected(shorts, pause=20)
    assert len(slow.frames) > len(quick.frames) + 100
    assert len(slow.made.episodes) < len(quick.made.episodes) + 20


def test_nothing_was_ever_held() -> None:
    frames, reader, _ = world([0.04] * 8)
    with pytest.raises(ConfigError, match="held"):
        own_corrections(frames, Painter(reader.things), 8)
