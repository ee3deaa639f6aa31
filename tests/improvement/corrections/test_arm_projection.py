import numpy as np
import pytest
from tests.improvement.corrections.camera import TIP_M, arm, seen

from soar.errors import ConfigError
from soar.improvement.methods.corrections.arm_projection import ArmProjection


def states(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = [0.12, -0.2, 0.03, -0.1, -0.1, -1.2, 0.0]
    high = [0.42, 0.2, 0.18, 0.1, 0.1, 1.2, 1.0]
    return rng.uniform(low, high, (n, 7))


def test_an_arms_view_is_learned_from_noisy_readings_some_of_them_wild() -> None:
    felt, rng = states(1500), np.random.default_rng(1)
    read = arm(felt) + rng.normal(0, 0.03, (1500, 5, 2))
    read[rng.random(1500) < 0.1] += 0.4
    view, new = ArmProjection(felt, read), states(300, 2)
    assert np.median(np.linalg.norm(view(new) - arm(new), axis=-1)) < 0.02


def test_a_hand_can_be_sent_to_where_its_fingertips_shall_be_seen() -> None:
    felt = states(1500)
    view, at = ArmProjection(felt, arm(felt)), np.array([0.33, -0.12, 0.035])
    place = seen(at - [0, 0, TIP_M])
    reached = view.reach(place, np.array([0.2, 0, 0.035, 0, 0, 0.3, 0.4]), slice(1, 3))
    np.testing.assert_allclose(reached, at[:2], atol=0.006)


def test_too_few_looks() -> None:
    with pytest.raises(ConfigError, match="at least"):
        ArmProjection(states(20), arm(states(20)))
