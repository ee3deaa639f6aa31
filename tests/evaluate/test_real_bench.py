"""Evaluation of a real robot: a person sets the table, a person or a model judges."""

from soar.clock import Clock
from soar.evaluate.bench import Judgement, RealBench
from soar.robots.toy import ToyRobot
from soar.types import Observation


def bench_with(robot: ToyRobot, asked: list[str]) -> RealBench:
    def judge(observation: Observation, instruction: str) -> Judgement:
        asked.append(f"judge {instruction}")
        return Judgement("success", raw="looks right")

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
    judged = bench.judge(bench.robot.observe(), None, fault="")
    assert (judged.outcome, judged.raw) == ("success", "looks right")
    assert asked[-1] == "judge go"


def test_a_fault_is_unknown_and_asks_nobody() -> None:
    class Recovering(ToyRobot):
        recovered = 0

        def recover(self) -> None:
            self.recovered += 1

    asked: list[str] = []
    robot = Recovering()
    bench = bench_with(robot, asked)
    judged = bench.judge(robot.observe(), None, "motor 3")
    assert (judged.outcome, judged.raw, robot.recovered, asked) == ("unknown", "motor 3", 1, [])


def test_the_period_is_kept() -> None:
    clock = Clock(speed=100.0)
    robot = ToyRobot()
    bench = RealBench(robot, lambda o, i: Judgement("unknown"), lambda i, s: None, clock)
    bench.set_up("go", 0)
    start = clock.now()
    for _ in range(6):
        bench.metronome.tick()
    assert clock.now() - start >= 5 * robot.period_s * 0.99
