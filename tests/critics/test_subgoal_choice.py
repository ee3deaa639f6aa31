import numpy as np
import pytest

from soar.critics.steering import SteeringConfig
from soar.critics.subgoal_choice import ChosenSubgoals, StateCritic
from soar.errors import ConfigError
from soar.interfaces import SubgoalGenerator
from soar.types import Observation, Task

OBSERVATIONS = [Observation(np.zeros((4, 4, 3), np.uint8), np.zeros(7, np.float32), 0.0)] * 3
TASKS = [Task("open the drawer")] * 3


class Gray:
    """Images of a random gray."""

    name = "gray"

    def __init__(self, varies: bool = True) -> None:
        self.varies, self.calls = varies, 0

    def generate(self, observations, tasks, rng):
        self.calls += 1
        assert len(tasks) == len(observations)
        gray = (
            rng.integers(0, 256, len(observations)) if self.varies else np.zeros(len(observations))
        )
        return np.broadcast_to(gray[:, None, None, None], (len(gray), 4, 4, 3)).astype(np.uint8)


class Bright:
    name = "bright"
    takes_images = True

    def v(self, observations, goals):
        assert len(observations) == len(goals)
        return goals.mean((1, 2, 3)).astype(np.float32)


def brightness(select: str) -> float:
    chosen = ChosenSubgoals(Gray(), Bright(), SteeringConfig(count=8, select=select))  # type: ignore[arg-type]
    images = chosen.generate(OBSERVATIONS, TASKS, np.random.default_rng(0))
    assert images.shape == (3, 4, 4, 3)
    return float(images.mean())


def test_the_best_subgoal_of_several_is_chosen_in_one_call():
    assert brightness("worst") < 80 < brightness("random") < 190 < brightness("best")
    base = Gray()
    chosen = ChosenSubgoals(base, Bright())
    assert isinstance(chosen, SubgoalGenerator)
    assert isinstance(Bright(), StateCritic)
    chosen.generate(OBSERVATIONS, TASKS, np.random.default_rng(0))
    assert base.calls == 1


def test_a_generator_whose_images_never_vary_is_refused_by_name():
    with pytest.raises(ConfigError, match="subgoal generator 'gray' gave 4 identical images"):
        ChosenSubgoals(Gray(varies=False), Bright()).generate(
            OBSERVATIONS, TASKS, np.random.default_rng(0)
        )
