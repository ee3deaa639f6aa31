from dataclasses import replace

import numpy as np
import pytest
from tests.improvement.corrections.camera import BESIDE, HEIGHT, TIP_M, arm, errand, seen, world

from soar.errors import ConfigError
from soar.improvement.methods.corrections.keypoint_labels import keypoint_labels
from soar.improvement.methods.corrections.motion_plan import plan_motion
from soar.improvement.methods.corrections.planner import CorrectionPlanner
from soar.training.keypoint_samples import SOONEST
from soar.types import Verdict


def test_failed_attempts_are_labelled_where_the_thing_really_was() -> None:
    frames, reader, places = world([0.0] * 6 + [0.04] * 6)
    moments = keypoint_labels(frames, reader)
    which = moments.images[:, 0, 0, 0]
    truth = seen(places - [0, 0, TIP_M - HEIGHT + 0.01])  # the fingertips around it
    off = np.linalg.norm(moments.points[:, 0] - truth[which], axis=-1)
    reaching = moments.states[:, 6] > 0.6
    assert set(which) == set(range(12))
    assert np.median(off[(which >= 6) & reaching]) < 0.025 < np.linalg.norm(BESIDE)


def test_what_comes_is_what_an_able_hand_would_do_from_there() -> None:
    frames, reader, places = world([0.0] * 6 + [0.04] * 6)
    moments, off = keypoint_labels(frames, reader), []
    for k in np.flatnonzero(moments.images[:, 0, 0, 0] >= 6):
        states, *_ = plan_motion(
            moments.states[k], errand(places[moments.images[k, 0, 0, 0]]), False
        )
        then = arm(states[[SOONEST + 1]])[0, 0]
        off.append(np.linalg.norm(moments.later[k, 0, 2] - then))
    assert np.median(off) < 0.04
    assert np.isnan(moments.later[moments.images[:, 0, 0, 0] >= 6][:, :, 3:5]).all()


def test_nothing_was_ever_held() -> None:
    frames, reader, _ = world([0.04] * 8)
    with pytest.raises(ConfigError, match="held"):
        keypoint_labels(frames, reader)


def test_a_handle_takes_its_thing_along_only_as_far_as_that_goes() -> None:
    frames, reader, _ = world([0.0] * 6 + [0.04] * 6)
    for words, share in (("put the red block in the bowl", 1.0), ("fold the cloth", 0.25), ("open the drawer", 0.0)):  # fmt: skip
        told = tuple(replace(e, instruction=words) for e in frames.episodes)
        moments = keypoint_labels(replace(frames, episodes=told), reader)
        held = (moments.states[:, 6] > 0.1) & (moments.states[:, 6] < 0.8)
        went = moments.later[held, -1, 0] - moments.points[held, 0]
        tips = moments.later[held, -1, 3:5].mean(1) - moments.points[held, 3:5].mean(1)
        far = np.linalg.norm(tips, axis=1) > 0.2
        shares = np.linalg.norm(went[far], axis=1) / np.linalg.norm(tips[far], axis=1)
        assert np.median(shares) == pytest.approx(share, abs=0.1)


def test_a_drawer_that_nobody_opened_is_pulled_as_far_as_others_were() -> None:
    frames, reader, places = world([0.0] * 6 + [0.04] * 6)
    drawers = tuple(replace(e, instruction="open the drawer") for e in frames.episodes)
    coach = CorrectionPlanner(replace(frames, episodes=drawers), reader)
    pulled = [e.drop - e.grasp for a in coach.attempts if a.good and (e := coach.errand(a)) and e.drop is not None]  # fmt: skip
    failed = next(a for a in coach.attempts if not a.good)
    errand = coach.errand(failed)
    assert errand is not None
    assert errand.drop is not None
    np.testing.assert_allclose(errand.grasp[:2], places[6, :2], atol=0.02)
    np.testing.assert_allclose(
        (errand.drop - errand.grasp)[:2], np.median(pulled, 0)[:2], atol=0.02
    )


def test_what_went_well_on_one_side_says_nothing_of_the_other() -> None:
    frames, reader, _ = world([0.0] * 12)
    episodes = []
    for i, e in enumerate(frames.episodes):
        side, verdict = ("left", e.verdict) if i < 6 else ("right", Verdict("failure", 0.1))
        episodes.append(replace(e, instruction=f"move the block to the {side}", verdict=verdict))
    coach = CorrectionPlanner(replace(frames, episodes=tuple(episodes)), reader)
    drops = [errand.drop for a in coach.attempts if (errand := coach.errand(a))]
    assert len(drops) == 12
    assert all(drop is not None for drop in drops[:6])
    assert all(drop is None for drop in drops[6:])


def test_a_scene_of_other_tasks_alone_is_told_apart() -> None:
    frames, reader, _ = world([0.0] * 8)
    others = [replace(e, instruction="press the button") for e in frames.episodes]
    with pytest.raises(ConfigError, match="grasp something"):
        keypoint_labels(replace(frames, episodes=tuple(others)), reader)
