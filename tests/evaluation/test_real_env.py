"""Evaluation of a real robot: a person sets the table, a person or a model judges."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from soar.checkpoint import Checkpoint, save
from soar.evaluation import protocol
from soar.evaluation.envs import RealEvalEnv, TrialOutcome
from soar.evaluation.operator import ask_for_outcome
from soar.evaluation.protocol import station_protocol
from soar.evaluation.runner import evaluate
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import ToyPolicy, ToySubgoals, ToyVLM
from soar.rollout.station_config import StationConfig
from soar.types import Observation
from soar.utils.clock import Clock


def env_with(robot: ToyRobot, asked: list[str]) -> RealEvalEnv:
    def judge(observation: Observation, instruction: str) -> TrialOutcome:
        asked.append(f"judge {instruction}")
        return TrialOutcome("success", raw="looks right")

    def set_table(instruction: str, seed: int) -> None:
        asked.append(f"set {instruction} {seed}, homed {robot.homed}")

    return RealEvalEnv(robot, judge, set_table, Clock(speed=100.0))


def test_the_arm_is_home_before_a_person_reaches_in() -> None:
    asked: list[str] = []
    env_with(ToyRobot(), asked).reset("go", 7)
    assert asked == ["set go 7, homed 1"]


def test_the_judge_sees_the_end() -> None:
    asked: list[str] = []
    env = env_with(ToyRobot(), asked)
    env.reset("go", 7)
    judged = env.judge(env.robot.observe(), None, fault="")
    assert (judged.outcome, judged.raw) == ("success", "looks right")
    assert asked[-1] == "judge go"


def test_a_fault_is_unknown_and_asks_nobody() -> None:
    class Recovering(ToyRobot):
        recovered = 0

        def recover(self) -> None:
            self.recovered += 1

    asked: list[str] = []
    robot = Recovering()
    env = env_with(robot, asked)
    judged = env.judge(robot.observe(), None, "motor 3")
    assert (judged.outcome, judged.raw, robot.recovered, asked) == ("unknown", "motor 3", 1, [])


def test_the_period_is_kept() -> None:
    clock = Clock(speed=100.0)
    robot = ToyRobot()
    env = RealEvalEnv(robot, lambda o, i: TrialOutcome("unknown"), lambda i, s: None, clock)
    env.reset("go", 0)
    start = clock.now()
    for _ in range(6):
        env.metronome.tick()
    assert clock.now() - start >= 5 * robot.period_s * 0.99


def test_a_station_is_evaluated_with_a_person_or_a_model_as_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "load_vlm", lambda name: ToyVLM())
    monkeypatch.setattr(protocol, "ask_for_start", lambda instruction, seed: None)
    save(tmp_path / "policy", Checkpoint("gcbc", {}, {}))
    station = StationConfig("arm", robot="toy")
    spec, setting = station_protocol(
        str(tmp_path / "policy"), station, trials=1, judge="any", clock=Clock(speed=1000.0)
    )
    spec = replace(spec, policy=ToyPolicy, subgoals=ToySubgoals)
    setting = replace(setting, steps_per_subgoal=5)
    found = evaluate(spec, setting, tmp_path / "e", video_size=0)
    assert setting.details["judge"] == "any"
    assert [t.outcome for t in found.trials] == ["success", "success"]
    assert found.trials[0].ever is None


@pytest.mark.parametrize(("key", "outcome"), [("y", "success"), ("n", "failure"), ("u", "unknown")])
def test_a_person_answers_with_one_key(
    key: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))
    seen = ToyRobot().observe()
    assert ask_for_outcome(seen, "go").outcome == outcome
