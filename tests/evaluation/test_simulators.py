"""Evaluation on a simulator of others, by its own truth."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import yaml
from gymnasium import spaces

from soar.cli import main
from soar.errors import ConfigError, RobotFault
from soar.evaluation.results import open_evaluation
from soar.evaluation.simulators import SimulatorEnvs
from soar.rollout.station_config import StationConfig


class Reach(gymnasium.Env):
    """A point that must go 2 cm or, from every second start, 50 cm, which is further than any episode leads."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode=None) -> None:
        self.render_mode = render_mode
        self.action_space = spaces.Box(-1, 1, (3,), np.float32)
        self.observation_space = spaces.Box(-9, 9, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.far = np.array([0.29, 0.0, 0.1], np.float32), (seed or 0) % 2 == 1
        return self.at.copy(), {}

    def step(self, action):
        self.at = self.at + 0.001 * np.asarray(action, np.float32)
        done = abs(self.at[0] - 0.29) > (0.5 if self.far else 0.02)
        return self.at.copy(), 0.0, False, False, {"success": float(done)}

    def render(self):
        image = np.zeros((16, 16, 3), np.uint8)
        image[: int(1000 * self.at[0]) % 16] = 200
        return image


gymnasium.register("SoarReach-v0", Reach)  # type: ignore[arg-type]
ENTRIES = [[0, 1000], [1, 1000], [2, 1000]]
OPTIONS = {
    "env": "SoarReach-v0",
    "action": ENTRIES,
    "state": [["", 0, 0], ["", 1, 1], ["", 2, 2]],
}


POLICY = """
import numpy as np

class Forward:
    name = "forward"

    def act(self, observations, goals, rng, *, noise=0.0):
        return np.tile(np.array([0.001, 0, 0, 0, 0, 0, 1], np.float32), (len(observations), 1))

    def reset(self):
        pass
"""


def station(**changes) -> StationConfig:
    fields: dict[str, Any] = {
        "robot": "gym",
        "options": OPTIONS,
        "simulator": True,
        "process": False,
        "tasks": ("move the green block to the left side",),
    }
    return StationConfig("reach", **(fields | changes))


def test_the_infos_success_decides_and_the_seed_sets_the_start(tmp_path, monkeypatch):
    (tmp_path / "forward_policy.py").write_text(POLICY)
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "reach.yaml"
    data = {"robot": "gym", "simulator": True, "process": False, "options": OPTIONS}
    data["tasks"] = ["move the green block to the left side"]
    file.write_text(yaml.safe_dump(data))
    options = [
        "--checkpoint",
        "python:forward_policy:Forward",
        "--subgoals",
        "none",
        "--trials",
        "4",
    ]
    out = tmp_path / "out"
    main(
        [
            "evaluate",
            "--station",
            str(file),
            "--judge",
            "truth",
            *options,
            "--out",
            str(out),
            "--video-size",
            "0",
        ]
    )
    trials = open_evaluation(out).trials
    outcomes = {t.key.seed: t.outcome for t in trials}
    assert len(outcomes) == 4
    assert all(o == ("failure" if seed % 2 else "success") for seed, o in outcomes.items())


def test_a_station_without_a_truth_is_refused():
    with pytest.raises(ConfigError, match="station reach has no truth; valid: a station with `sim"):
        SimulatorEnvs([station(simulator=False)])
    toy = station(robot="soar.robots.host.gym_robot:without_time_limit", options={"env": None})
    with pytest.raises(RobotFault, match=r"station reach: .* raised"):
        SimulatorEnvs([toy])("reach")
