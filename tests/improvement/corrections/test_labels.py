from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from tests.improvement.corrections.camera import BOWL, CONFIG, Reader, arm, project, world

from soar.data.frame_cache import Frames
from soar.errors import ConfigError
from soar.improvement.methods.corrections.labels import correction_labels
from soar.types import Images, Observation


class Renderer(Reader):
    """Renders inverted images and records the requested keypoints."""

    def render(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        places: np.ndarray,
        rng: np.random.Generator,
    ) -> Images:
        """As `CompactSubgoalGenerator.render`."""
        self.requested = [*getattr(self, "requested", []), *places]
        return np.stack([255 - o.image for o in observations])


class Corrected(NamedTuple):
    """Corrections of made-up attempts, the first half of which hold the object."""

    frames: Frames
    renderer: Renderer
    positions: np.ndarray
    made: Frames
    state: np.ndarray
    action: np.ndarray
    goal_state: np.ndarray
    episode: np.ndarray


def corrected(shorts: list[float], pause: int = 0) -> Corrected:
    frames, reader, positions = world(shorts)
    if pause:
        frames = waiting(frames, pause)
    renderer = Renderer(reader.objects, reader.offset)
    made = correction_labels(frames, renderer, 8, CONFIG)
    episode = np.array([int(e.id) for e in made.episodes])
    return Corrected(
        frames, renderer, positions, made,
        made.states[0::2], made.actions[0::2], made.states[1::2], episode,
    )  # fmt: skip


def waiting(frames: Frames, steps: int) -> Frames:
    """The same episodes, each after a number of steps in which nothing moves."""
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


def test_corrections_of_failed_attempts_lead_to_the_true_position_of_the_object(
    some: Corrected,
) -> None:
    failed = some.episode >= 6
    moves = np.linalg.norm(some.action[:, :2], axis=1) > 0
    reaching = failed & (some.state[:, 6] > 0.8) & moves
    assert reaching.sum() > 12
    to = (some.positions[some.episode, :2] - some.state[:, :2])[reaching]
    step, away = some.action[reaching, :2], np.linalg.norm(to, axis=1)
    cosine = (to * step).sum(1) / away / np.linalg.norm(step, axis=1)
    assert np.median(cosine) > 0.97
    assert (some.action[reaching, 6] == 1).all()
    assert (away > 0.025).all()  # closer frames are not labeled
    assert np.median(np.linalg.norm(some.action[reaching, :3], axis=1)) == pytest.approx(0.028)


def test_corrections_of_successful_attempts_close_carry_and_release(some: Corrected) -> None:
    good = some.episode < 6
    opened, closing = some.state[:, 6] > 0.8, some.action[:, 6] < 0.5
    closes = good & opened & closing
    assert closes.sum() == 24
    away = np.linalg.norm(some.state[closes, :2] - some.positions[some.episode[closes], :2], axis=1)
    assert away.max() < 0.015
    carries = good & ~opened & closing
    assert (some.goal_state[carries, 2] > some.state[carries, 2] + 0.01).any()
    after = good & (some.state[:, 6] > 0.8) & ~closing & (some.action[:, 2] > 0.01)
    assert after.any()


def test_a_right_release_stays_right_wherever_the_container_is_read() -> None:
    class Unsteady(Renderer):
        def locate_objects(
            self, observations: Sequence[Observation], words: Sequence[str]
        ) -> np.ndarray:
            found = super().locate_objects(observations, words)
            found[:, 1, 0] += np.where([o.image[0, 0, 0] % 2 for o in observations], 0.4, -0.4)
            return found

    frames, reader, _ = world([0.0] * 6 + [0.04] * 6)
    made = correction_labels(frames, Unsteady(reader.objects, reader.offset), 8, CONFIG)
    state, action = made.states[0::2], made.actions[0::2]
    around = (state[:, 6] > 0.1) & (state[:, 6] < 0.8)
    releases = around & (action[:, 6] == 1)
    assert releases.sum() >= 6 * 2
    assert np.linalg.norm(state[releases, :2] - BOWL[:2], axis=1).max() < 0.02
    far = np.linalg.norm(state[:, :2] - BOWL[:2], axis=1) > 0.03
    assert (action[around & far, 6] == 0).all()


def test_goals_are_rendered_with_the_keypoints_that_the_plan_leads_to(some: Corrected) -> None:
    requested = np.array(some.renderer.requested)
    assert len(requested) == len(some.made.episodes)
    np.testing.assert_allclose(requested[:, 0], arm(some.goal_state)[:, 0], atol=0.03)
    reaching = (some.goal_state[:, 6] > 0.8) & (some.state[:, 6] > 0.8) & (some.episode >= 6)
    off = requested[reaching, 1] - project(some.positions - [0, 0, 0.005])[some.episode[reaching]]
    assert np.median(np.linalg.norm(off, axis=1)) < 0.04
    goals = some.made.images[1::2]
    assert (goals == 255 - some.made.images[0::2]).all()


def test_a_waiting_gripper_is_corrected_once() -> None:
    shorts = [0.0] * 4 + [0.04] * 4
    quick, slow = corrected(shorts), corrected(shorts, pause=20)
    assert len(slow.frames) > len(quick.frames) + 100
    assert len(slow.made.episodes) < len(quick.made.episodes) + 20


def test_episodes_in_which_nothing_was_held_are_refused() -> None:
    frames, reader, _ = world([0.04] * 8)
    with pytest.raises(ConfigError, match="held"):
        correction_labels(frames, Renderer(reader.objects), 8, CONFIG)
