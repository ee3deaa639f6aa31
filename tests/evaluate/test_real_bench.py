"""Evaluation of a real robot: a person sets the table, a person or a model judges."""

from soar.clock import Clock
from soar.errors import RobotFault
from soar.evaluate.bench import Ending, RealBench
from soar.robots.toy import ToyRobot
from soar.types import Observation


def bench_with(robot: ToyRobot, asked: list[str]) -> RealBench:
    def judge(observation: Observation, instruction: str) -> Ending:
        asked.append(f"judge {instruction}")
        return Ending("success", raw="looks right")

    def set_table(instruction: str, seed: int) -> None:
        asked.append(f"set {instruction} {seed}, homed {robot.homed}")

    return RealBench(robot, judge, set_table, Clock(speed=100.0))


def test_the_arm_is_home_before_a_person_reaches_in() -> None:
    asked: list[str] = []
    bench_with(ToyRobot(), asked).set_up("go", 7)
    assert asked == ["set go 7, homed 1"]


def test_the_judge_sees_the_end() -> None:
    asked: list[str] = []
    bench = bench_with(ToyRobot(), asked)
    bench.set_up("go", 7)
    ending = bench.ending(bench.robot.observe(), fault="")
    assert (ending.outcome, ending.raw) == ("success", "looks right")
    assert asked[-1] == "judge go"


def test_a_fault_is_unknown_and_asks_nobody() -> None:
    class Recovering(ToyRobot):
        recovered = 0

        def recover(self) -> None:
            self.recovered += 1

    asked: list[str] = []
    robot = Recovering()
    bench = bench_with(robot, asked)
    ending = bench.ending(robot.observe(), str(RobotFault("motor 3")))
    assert (ending.outcome, ending.raw, robot.recovered, asked) == ("unknown", "motor 3", 1, [])


def test_the_period_is_kept() -> None:
    clock = Clock(speed=100.0)
    robot = ToyRobot()
    bench = RealBench(robot, lambda o, i: Ending("unknown"), lambda i, s: None, clock)
    bench.set_up("go", 0)
    start = clock.now()
    for _ in range(6):
        bench.wait()
    assert clock.now() - start >= 5 * robot.period_s * 0.99
