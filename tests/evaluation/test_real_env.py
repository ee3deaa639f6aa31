"""Evaluation on real robots: starts, judges, and the person at the terminal."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from soar.data.store.images import decode
from soar.errors import ConfigError, ModelUnavailable
from soar.evaluation.envs import RealEvalEnv, TrialOutcome
from soar.evaluation.operator import ConsoleOperator, blend
from soar.evaluation.stations import KeptStarts, RecordedStarts, StationEnvs, StationJudge
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS, ToyVLM
from soar.rollout.station_config import StationConfig
from soar.tasks.grammar import task_from_instruction
from soar.tasks.success_detector import VLMSuccessDetector
from soar.types import Answer, Image, Images, Observation, Outcome, Question, Task, Verdict
from soar.utils.clock import Clock

LEFT, RIGHT = INSTRUCTIONS
TASKS = {i: task_from_instruction(i) for i in INSTRUCTIONS}
STATION = StationConfig("arm", robot="toy")


class ScriptedOperator:
    """An operator who moves nothing, records what is asked, and gives one verdict."""

    def __init__(self, outcome: Outcome = "success") -> None:
        self.outcome = outcome
        self.starts: list[tuple[str, Image | None]] = []
        self.judged: list[str] = []

    def set_start(
        self, instruction: str, take_image: Callable[[], Image], recorded: Image | None
    ) -> None:
        self.starts.append((instruction, recorded))

    def judge(self, instruction: str, image: Image) -> Outcome:
        self.judged.append(instruction)
        return self.outcome


class Recording:
    """Starts and judge that record their calls."""

    needs_all_frames = False

    def __init__(self) -> None:
        self.calls: list[str] = []

    def judge(self, instruction: str, images: Images) -> TrialOutcome:
        self.calls.append(f"judge {instruction}")
        return TrialOutcome("success", raw="looks right")

    def can_start(self, instruction: str, observation: Observation) -> bool:
        return True

    def set(self, instruction: str, seed: int, observe: Callable[[], Observation]) -> None:
        self.calls.append(f"set {instruction} {seed}")


def test_the_arm_is_home_while_a_start_is_set() -> None:
    robot, parts = ToyRobot(), Recording()
    env = RealEvalEnv(robot, parts, parts, Clock(speed=100.0))
    env.reset("go", 7)
    assert (parts.calls, robot.homed) == (["set go 7"], 1)


def test_the_judge_gets_the_instruction_and_a_fault_is_unknown_and_recovered() -> None:
    class Recovering(ToyRobot):
        recovered = 0

        def recover(self) -> None:
            self.recovered += 1

    robot, parts = Recovering(), Recording()
    env, images = RealEvalEnv(robot, parts, parts), robot.observe().image[None]
    env.reset("go", 7)
    assert env.judge(images, None, fault="").raw == "looks right"
    assert parts.calls[-1] == "judge go"
    judged = env.judge(images, None, "motor 3")
    assert (judged.outcome, judged.raw, robot.recovered) == ("unknown", "motor 3", 1)
    assert len(parts.calls) == 2


def test_the_period_is_kept() -> None:
    clock, robot, parts = Clock(speed=100.0), ToyRobot(), Recording()
    env = RealEvalEnv(robot, parts, parts, clock)
    env.reset("go", 0)
    start = clock.now()
    for _ in range(6):
        env.metronome.tick()
    assert clock.now() - start >= 5 * robot.period_s * 0.99


def test_the_first_start_is_recorded_and_later_ones_reproduce_it(tmp_path: Path) -> None:
    operator, robot = ScriptedOperator(), ToyRobot(1)
    starts = RecordedStarts(operator, tmp_path)
    starts.set(LEFT, 7, robot.observe)
    first = robot.observe().image
    robot.reset(2)
    starts.set(LEFT, 7, robot.observe)
    starts.set(LEFT, 8, robot.observe)
    recorded = [image for _, image in operator.starts]
    assert recorded[0] is None
    assert recorded[2] is None
    np.testing.assert_array_equal(recorded[1], first)
    [path] = tmp_path.glob("*/7.png")
    np.testing.assert_array_equal(decode(path.read_bytes()), first)


def test_a_kept_scene_needs_the_person_only_where_the_task_is_done_or_unclear() -> None:
    class DownVLM(ToyVLM):
        def answer(
            self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
        ) -> list[list[Answer]]:
            raise ModelUnavailable("down")

    operator, robot = ScriptedOperator(), ToyRobot()
    robot.block = np.array([0.3, 0.12])  # on the left
    starts = KeptStarts(operator, ToyVLM(), TASKS)
    assert starts.can_start(RIGHT, robot.observe())
    assert not starts.can_start(LEFT, robot.observe())
    assert not KeptStarts(operator, DownVLM(), TASKS).can_start(RIGHT, robot.observe())
    starts.set(RIGHT, 0, robot.observe)
    assert operator.starts == []
    starts.set(LEFT, 0, robot.observe)
    assert operator.starts == [(LEFT, None)]


@pytest.mark.parametrize(("person_judges", "outcome"), [(True, "failure"), (False, "success")])
def test_the_verdicts_of_person_and_detector_are_both_recorded(
    person_judges: bool, outcome: Outcome
) -> None:
    operator, robot = ScriptedOperator("failure"), ToyRobot()
    robot.block = np.array([0.3, 0.12])
    judge = StationJudge(TASKS, operator, VLMSuccessDetector(ToyVLM()), person_judges)
    judged = judge.judge(LEFT, robot.observe().image[None])
    assert judged.outcome == outcome
    assert judged.detector == "success"
    assert judged.person == ("failure" if person_judges else None)
    assert operator.judged == ([LEFT] if person_judges else [])


def test_a_person_judges_alone_while_the_detector_is_down() -> None:
    class Down:
        name, threshold = "down", 0.5

        def judge_episode(self, frames: Images, task: Task) -> Verdict:
            raise ModelUnavailable("no reply")

    judge = StationJudge(TASKS, ScriptedOperator(), Down(), person_judges=True)
    assert judge.needs_all_frames
    judged = judge.judge(LEFT, ToyRobot().observe().image[None])
    assert judged.outcome == "success"
    assert (judged.detector, judged.person) == ("unknown", "success")
    assert judged.raw == "no reply"


def test_stations_without_a_judge_or_without_a_way_to_find_possible_tasks_are_refused() -> None:
    with pytest.raises(ConfigError, match="without a success detector a person judges"):
        StationEnvs([STATION], ScriptedOperator(), person_judges=False, starts=Path("starts"))
    with pytest.raises(ConfigError, match="kept scenes need a vision-language model"):
        StationEnvs([STATION], ScriptedOperator())


def test_a_station_is_made_by_name_with_its_arm_at_home(tmp_path: Path) -> None:
    envs = StationEnvs([STATION], ScriptedOperator(), starts=tmp_path)
    env = envs("arm")
    env.reset(LEFT, 0)
    assert (tmp_path / "arm").exists()
    env.close()


@pytest.mark.parametrize(("key", "outcome"), [("y", "success"), ("n", "failure"), ("u", "unknown")])
def test_a_person_answers_with_one_key(
    key: str, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))
    operator = ConsoleOperator(tmp_path / "overlay.png")
    assert operator.judge("go", ToyRobot().observe().image) == outcome


def test_the_terminal_shows_the_recorded_start_over_the_live_one_until_it_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\nl\n\n"))
    operator, robot = ConsoleOperator(tmp_path / "overlay.png"), ToyRobot(1)
    looks: list[Image] = []

    def take_image() -> Image:
        looks.append(robot.observe().image)
        robot.reset(2)
        return looks[-1]

    operator.set_start(LEFT, take_image, None)
    assert looks == []
    recorded = ToyRobot(2).observe().image
    operator.set_start(LEFT, take_image, recorded)
    assert len(looks) == 2
    overlay = decode((tmp_path / "overlay.png").read_bytes())
    np.testing.assert_array_equal(overlay, blend(looks[-1], recorded))
    np.testing.assert_array_equal(overlay, recorded)
    assert "▀" in capsys.readouterr().out
