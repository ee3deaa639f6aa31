import numpy as np
import pytest
from tests.improvement.corrections.camera import CONFIG, TIP_M, arm, project

from soar.errors import ConfigError
from soar.improvement.methods.corrections.arm_projection import ArmProjection


def states(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = [0.12, -0.2, 0.03, -0.1, -0.1, -1.2, 0.0]
    high = [0.42, 0.2, 0.18, 0.1, 0.1, 1.2, 1.0]
    return rng.uniform(low, high, (n, 7))


def test_the_projection_is_learned_from_noisy_readings_with_outliers() -> None:
    measured, rng = states(1500), np.random.default_rng(1)
    read = arm(measured) + rng.normal(0, 0.03, (1500, 5, 2))
    read[rng.random(1500) < 0.1] += 0.4
    projection, new = ArmProjection(measured, read, CONFIG), states(300, 2)
    assert np.median(np.linalg.norm(projection(new) - arm(new), axis=-1)) < 0.02


def test_the_projection_is_inverted_for_a_position_of_the_fingertips() -> None:
    measured = states(1500)
    projection = ArmProjection(measured, arm(measured), CONFIG)
    at = np.array([0.33, -0.12, 0.035])
    position = project(at - [0, 0, TIP_M])
    reached = projection.solve_position(
        position, np.array([0.2, 0, 0.035, 0, 0, 0.3, 0.4]), slice(1, 3)
    )
    np.testing.assert_allclose(reached, at[:2], atol=0.006)


def test_too_few_images_of_the_arm_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least"):
        ArmProjection(states(20), arm(states(20)), CONFIG)
