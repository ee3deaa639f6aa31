from dataclasses import replace

import numpy as np
import pytest
from tests.improvement.corrections.camera import (
    CONFIG,
    HEIGHT,
    OFFSET,
    PLANNER,
    TIP_M,
    arm,
    project,
    target,
    world,
)

from soar.errors import ConfigError
from soar.improvement.methods.corrections.keypoint_labels import keypoint_labels
from soar.improvement.methods.corrections.planner import CorrectionPlanner
from soar.training.keypoint_samples import MIN_STEPS_AHEAD
from soar.types import Verdict


def test_failed_attempts_are_labeled_with_the_true_position_of_the_object() -> None:
    frames, reader, positions = world([0.0] * 6 + [0.04] * 6)
    samples = keypoint_labels(frames, reader, CONFIG)
    which = samples.images[:, 0, 0, 0]
    truth = project(positions - [0, 0, TIP_M - HEIGHT + 0.01])  # the fingertips around it
    off = np.linalg.norm(samples.points[:, 0] - truth[which], axis=-1)
    reaching = samples.states[:, 6] > 0.6
    assert set(which) == set(range(12))
    assert np.median(off[(which >= 6) & reaching]) < 0.025 < np.linalg.norm(OFFSET)


def test_labels_follow_the_scripted_plan() -> None:
    frames, reader, positions = world([0.0] * 6 + [0.04] * 6)
    samples, off = keypoint_labels(frames, reader, CONFIG), []
    for k in np.flatnonzero(samples.images[:, 0, 0, 0] >= 6):
        states, *_ = PLANNER.plan(
            samples.states[k], target(positions[samples.images[k, 0, 0, 0]]), False
        )
        then = arm(states[[MIN_STEPS_AHEAD + 1]])[0, 0]
        off.append(np.linalg.norm(samples.later[k, 0, 2] - then))
    assert np.median(off) < 0.04
    assert np.isnan(samples.later[samples.images[:, 0, 0, 0] >= 6][:, :, 3:5]).all()


def test_episodes_in_which_nothing_was_held_are_refused() -> None:
    frames, reader, _ = world([0.04] * 8)
    with pytest.raises(ConfigError, match="held"):
        keypoint_labels(frames, reader, CONFIG)


def test_an_object_moves_with_its_handle_by_the_configured_share() -> None:
    frames, reader, _ = world([0.0] * 6 + [0.04] * 6)
    for words, share in (
        ("put the red block in the bowl", 1.0),
        ("fold the cloth", 0.25),
        ("open the drawer", 0.0),
    ):
        episodes = tuple(replace(e, instruction=words) for e in frames.episodes)
        samples = keypoint_labels(replace(frames, episodes=episodes), reader, CONFIG)
        held = (samples.states[:, 6] > 0.1) & (samples.states[:, 6] < 0.8)
        went = samples.later[held, -1, 0] - samples.points[held, 0]
        tips = samples.later[held, -1, 3:5].mean(1) - samples.points[held, 3:5].mean(1)
        far = np.linalg.norm(tips, axis=1) > 0.2
        shares = np.linalg.norm(went[far], axis=1) / np.linalg.norm(tips[far], axis=1)
        assert np.median(shares) == pytest.approx(share, abs=0.1)


def test_a_drawer_that_stayed_closed_is_pulled_as_far_as_others_were() -> None:
    frames, reader, positions = world([0.0] * 6 + [0.04] * 6)
    drawers = tuple(replace(e, instruction="open the drawer") for e in frames.episodes)
    planner = CorrectionPlanner(replace(frames, episodes=drawers), reader, CONFIG, 0.5)
    pulled = [
        t.release - t.grasp
        for a in planner.attempts
        if a.succeeded and (t := planner.target(a)) and t.release is not None
    ]
    failed = next(a for a in planner.attempts if not a.succeeded)
    found = planner.target(failed)
    assert found is not None
    assert found.release is not None
    np.testing.assert_allclose(found.grasp[:2], positions[6, :2], atol=0.02)
    np.testing.assert_allclose(
        (found.release - found.grasp)[:2], np.median(pulled, 0)[:2], atol=0.02
    )


def test_releases_on_one_side_say_nothing_about_the_other() -> None:
    frames, reader, _ = world([0.0] * 12)
    episodes = []
    for i, e in enumerate(frames.episodes):
        side, verdict = ("left", e.verdict) if i < 6 else ("right", Verdict("failure", 0.1))
        episodes.append(replace(e, instruction=f"move the block to the {side}", verdict=verdict))
    planner = CorrectionPlanner(replace(frames, episodes=tuple(episodes)), reader, CONFIG, 0.5)
    releases = [t.release for a in planner.attempts if (t := planner.target(a))]
    assert len(releases) == 12
    assert all(release is not None for release in releases[:6])
    assert all(release is None for release in releases[6:])


def test_what_is_taken_out_goes_where_the_success_with_the_nearest_grasp_put_it() -> None:
    frames, reader, positions = world([0.0] * 6 + [0.04] * 6)
    drift = np.repeat(
        np.arange(12) * 0.01, np.diff(frames.starts)
    )  # each episode releases at another height
    held = (frames.states[:, 6] < 0.8) & (frames.states[:, 6] > 0.1)
    frames.states[held, 2] += drift[held]
    taken = tuple(replace(e, instruction="take the red block out of the bowl") for e in frames.episodes)  # fmt: skip
    planner = CorrectionPlanner(replace(frames, episodes=taken), reader, CONFIG, 0.5)
    successes = [a for a in planner.attempts if a.succeeded]
    for attempt, position in zip(planner.attempts[6:], positions[6:], strict=True):
        near = min(successes, key=lambda a: float(np.linalg.norm(a.grasp[:2] - position[:2])))
        found, release = planner.target(attempt), near.release
        assert found is not None
        assert found.release is not None
        assert release is not None
        np.testing.assert_allclose(found.release, release[:3])


def test_a_scene_without_pick_and_place_tasks_is_refused() -> None:
    frames, reader, _ = world([0.0] * 8)
    others = [replace(e, instruction="press the button") for e in frames.episodes]
    with pytest.raises(ConfigError, match="grasp an object"):
        keypoint_labels(replace(frames, episodes=tuple(others)), reader, CONFIG)
