"""The idle-frame filter."""

from dataclasses import replace

import numpy as np
import pytest

from soar.contract.contract import WIDOWX, ActionNumbers, Gripper, Numbers, Rotation
from soar.contract.rotations import about, from_matrix, to_matrix
from soar.data.frame_cache import Frames
from soar.data.generated_goals import GeneratedGoals
from soar.data.idle_frames import drop_idle_frames
from soar.data.mixture import Source
from soar.errors import ConfigError
from soar.types import EpisodeSummary, Provenance, Verdict

X = [0.0, 0.02, 0.02, 0.025, 0.04, 0.04]
"""Positions over time [m]: a step, a pause, a crawl."""


def frames(episodes: int = 1) -> Frames:
    n = len(X)
    states, actions = np.zeros((n, 7), np.float32), np.zeros((n, 7), np.float32)
    states[:, 0], states[:, 6] = X, 1
    actions[:-1, 0], actions[:-1, 6] = np.diff(X), 1
    summary = EpisodeSummary(
        "0", "go", n - 1, Verdict("success", 1.0, "test"),
        Provenance("a", "dev", "dev1", 0, 0.0, "c"),
    )  # fmt: skip
    return Frames(
        np.arange(episodes * n, dtype=np.uint8)[:, None, None, None].repeat(3, 3),
        np.tile(states, (episodes, 1)),
        np.tile(actions, (episodes, 1)),
        np.arange(episodes + 1) * n,
        (summary,) * episodes,
    )


def kept(all_frames: Frames, copies: int = 1) -> list[int]:
    short = drop_idle_frames(Source("own", all_frames, 1.0), 0.015, copies).frames
    numbers: list[int] = short.images[:, 0, 0, 0].tolist()
    return numbers


def test_kept_frames_are_a_motion_apart_and_actions_lead_from_each_to_the_next():
    goals = GeneratedGoals(np.zeros((12, 3, 3, 3), np.uint8), np.arange(12), 0.5)
    source = drop_idle_frames(Source("own", frames(2), 1.0, generated_goals=goals), 0.015, copies=1)
    short, left = source.frames, [0, 1, 4, 5, 6, 7, 10, 11]
    assert source.generated_goals is not None
    assert source.generated_goals.image_indices.tolist() == left
    assert source.min_motion_m == 0.015
    assert short.starts.tolist() == [0, 4, 8]
    assert short.images[:, 0, 0, 0].tolist() == left
    for start, end in ((0, 3), (4, 7)):
        went = short.states[start + 1 : end + 1, 0] - short.states[start:end, 0]
        assert np.allclose(short.actions[start:end, 0], went)
        assert short.actions[start:end, 6].tolist() == [1, 1, 1]


def test_frames_with_a_rotation_a_gripper_motion_or_a_gripper_command_are_not_idle():
    still = frames()
    for column, change in ((5, 0.2), (6, -0.1)):
        states = still.states.copy()
        states[2:, column] += change
        assert 2 in kept(replace(still, states=states))
    actions = still.actions.copy()
    actions[2:, 6] = 0
    assert 2 in kept(replace(still, actions=actions))
    assert 2 not in kept(still)


def test_the_gripper_command_after_hesitation_is_the_label_for_all_of_it():
    still = frames()
    states, actions = still.states.copy(), still.actions.copy()
    states[:, 0] = [0, 0.02, 0.038, 0.039, 0.04, 0.04]
    assert kept(replace(still, states=states)) == [0, 1, 2, 5]
    actions[4:, 6] = 0
    closing = replace(still, states=states, actions=actions)
    seen = [kept(closing, copies=20)[i : i + 4] for i in range(0, 80, 4)]
    assert {tuple(s) for s in seen} == {(0, 1, 2, 5), (0, 1, 3, 5), (0, 1, 4, 5)}
    short = drop_idle_frames(Source("own", closing, 1.0, episodes=np.array([0])), 0.015, copies=20)
    assert short.frames.actions[:4, 6].tolist() == [1, 1, 0, 0]
    assert short.episodes is not None
    assert short.episodes.tolist() == list(range(20))
    assert len(short.frames.episodes) == 20


def test_frames_just_before_a_gripper_command_are_dropped():
    still = frames()
    states, actions = still.states.copy(), still.actions.copy()
    states[:, 0] = [0, 0.02, 0.04, 0.052, 0.052, 0.052]
    assert kept(replace(still, states=states)) == [0, 1, 2, 5]
    actions[3:, 6] = 0
    assert kept(replace(still, states=states, actions=actions)) == [0, 1, 3, 5]


def test_a_motion_of_zero_is_refused():
    with pytest.raises(ConfigError, match="above 0"):
        drop_idle_frames(Source("own", frames(), 1.0), 0.0)


@pytest.mark.parametrize("column", [0, 5, 6])
def test_motion_is_measured_in_the_contracts_units(column):
    """Meters, radians and a gripper from 0 to 1 keep the same frames as millimeters, degrees and a gripper to 100."""
    plain = frames()
    plain.states[:, 0] = 0
    plain.states[:, column] = np.array([0.0, 0.03, 0.06, 0.09, 0.12, 0.3])
    numbers = replace(WIDOWX.state, length="mm", angle="deg", gripper=Gripper(closed=0, open=100))
    states = plain.states * np.array([1000] * 3 + [180 / np.pi] * 3 + [100], np.float32)
    summary = replace(plain.episodes[0], contract=replace(WIDOWX, state=numbers))
    scaled = replace(plain, states=states, episodes=(summary,))
    assert kept(scaled) == kept(plain)
    doubled = replace(numbers, scale=(2.0,) * 6)
    summary = replace(summary, contract=replace(WIDOWX, state=doubled))
    halves = states / np.array([2] * 6 + [1], np.float32)
    assert kept(replace(scaled, states=halves, episodes=(summary,))) == kept(plain)
    assert len(kept(plain)) < len(X) or column == 0


def rotating(rotation: Rotation, turn: float) -> Frames:
    """One episode of 12 steps in which the hand stays and rotates by `turn` [rad] a step, across half a turn."""
    rows = from_matrix(about(2, 2.9 + turn * np.arange(13)), rotation)
    step = from_matrix(about(2, turn), rotation)
    state = Numbers(rotation=rotation, gripper=None)
    contract = replace(
        WIDOWX, state=state, action=ActionNumbers(rotation=rotation, turn="left", gripper=None)
    )
    actions = np.hstack([np.zeros((13, 3)), np.tile(step, (13, 1))]).astype(np.float32)
    actions[-1] = 0
    summary = replace(frames().episodes[0], length=12, contract=contract)
    return Frames(
        np.arange(13, dtype=np.uint8)[:, None, None, None].repeat(3, 3),
        np.hstack([np.zeros((13, 3)), rows]).astype(np.float32),
        actions,
        np.array([0, 13]),
        (summary,),
    )


@pytest.mark.parametrize(
    "rotation", ["quaternion_xyzw", "quaternion_wxyz", "rotation_6d", "rotvec"]
)
def test_a_hand_that_only_rotates_is_not_idle_in_any_convention(rotation):
    assert kept(rotating(rotation, 0.15)) == list(range(13))
    assert kept(rotating(rotation, 0.0)) == [0, 12]
    slow = drop_idle_frames(Source("own", rotating(rotation, 0.04), 1.0), 0.015, copies=2).frames
    assert slow.images[:, 0, 0, 0].tolist() == [0, 3, 6, 9, 12] * 2
    each = [*range(4), *range(5, 9)]
    made = to_matrix(slow.actions[each, 3:].astype(np.float64), rotation)
    assert np.allclose(made, about(2, 0.12), atol=1e-5)
