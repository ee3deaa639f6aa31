import numpy as np
import pytest
from tests.practice.camera import TIP_M, Reader, arm, seen

from soar.data.frames import Frames
from soar.errors import ConfigError
from soar.practice.moments import own_moments
from soar.practice.plans import HOLDING, Errand, plan
from soar.subgoals.moments import SOONEST
from soar.types import EpisodeSummary, Provenance, Verdict

HEIGHT, PUT = 0.035, "put the red block in the bowl"
BOWL = np.array([0.3, 0.12, 0.02])
BESIDE = np.array([0.03, 0.06])
"""What the reader gets wrong, everywhere: 2 cm."""


def errand(place: np.ndarray) -> Errand:
    grasp = np.array([*place[:2], HEIGHT])
    return Errand(grasp, 0.3, np.array([*BOWL[:2], 0.06]), 0.4, 0.1)


def episode(place: np.ndarray, short: float) -> tuple[np.ndarray, np.ndarray]:
    """States, and what the gripper was told: a whole attempt at the place, or one `short` of it [m] that holds nothing."""
    home = np.array([0.22, 0.0, 0.16, 0, 0, 0, 1.0])
    states, doing = plan(home, errand(place - np.array([short, 0, 0])), False)
    closed = doing == HOLDING
    closed[np.flatnonzero(closed)[0] - 2 :][:2] = True  # while the fingers close
    states, orders = states.copy(), np.where(closed, 0.0, 1.0)
    if short:
        states[doing == HOLDING, 6] = 0.01
    return states, orders


def world(shorts: list[float], seed: int = 0) -> tuple[Frames, Reader, np.ndarray]:
    rng, states, orders, starts, summaries, things = (
        np.random.default_rng(seed),
        [],
        [],
        [0],
        [],
        {},
    )
    places = np.array([[rng.uniform(0.16, 0.4), rng.uniform(-0.18, 0.02), 0.01] for _ in shorts])
    for i, (place, short) in enumerate(zip(places, shorts, strict=True)):
        s, o = episode(place, short)
        states.append(s)
        orders.append(o)
        starts.append(starts[-1] + len(s))
        verdict = Verdict("failure" if short else "success", 0.5, "", "", "test")
        where = Provenance("arm", "dev", "dev1", i, float(i), "", "", "")
        summaries.append(EpisodeSummary(str(i), PUT, len(s) - 1, verdict, where))
        things[str(i)] = np.stack([place, BOWL])
    felt = np.concatenate(states).astype(np.float32)
    actions = np.zeros((len(felt), 7), np.float32)
    actions[:, 6] = np.concatenate(orders)
    images = np.zeros((len(felt), 8, 8, 3), np.uint8)
    images[:] = np.repeat(np.arange(len(shorts)), np.diff(starts))[:, None, None, None]
    frames = Frames(images, felt, actions, np.array(starts), tuple(summaries))
    return frames, Reader(things, BESIDE), places


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
        states, _ = plan(moments.states[k], errand(places[moments.images[k, 0, 0, 0]]), False)
        then = arm(states[[SOONEST + 1]])[0, 0]
        off.append(np.linalg.norm(moments.later[k, 0, 2] - then))
    assert np.median(off) < 0.04
    assert np.isnan(moments.later[moments.images[:, 0, 0, 0] >= 6][:, :, 3:5]).all()


def test_nothing_was_ever_held() -> None:
    frames, reader, _ = world([0.04] * 8)
    with pytest.raises(ConfigError, match="held"):
        own_moments(frames, reader)
