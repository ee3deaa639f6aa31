"""Where trials happen: it sets up a start, and tells how the trial ended. One simulated, one real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from soar.clock import Clock, Metronome
from soar.errors import ConfigError
from soar.interfaces import Robot
from soar.robots.safety import SafeRobot
from soar.robots.sim import SimRobot
from soar.sim.spec import Goal, Scene
from soar.types import Observation, Outcome

IMAGE_SIZE = 256
"""What the simulated camera gives, as in collection."""


@dataclass(frozen=True)
class Ending:
    """How a trial ended, in the bench's eyes."""

    outcome: Outcome
    lost: tuple[str, ...] = ()
    raw: str = ""


@runtime_checkable
class Bench(Protocol):
    """A robot, and the hand that sets the table for it."""

    robot: Robot

    def set_up(self, instruction: str, seed: int) -> None:
        """Make a start at which the task is possible and not done; the arm is at home."""

    def wait(self) -> None:
        """Return when the next control step is due."""

    def fulfilled(self) -> bool | None:
        """Whether the task is done right now; None where nobody looks before the end."""

    def ending(self, observation: Observation, fault: str) -> Ending:
        """The outcome, from the last observation; `fault` says what stopped the trial, if anything."""

    def close(self) -> None:
        """Release the robot. Safe to call twice."""


MakeBench: TypeAlias = Callable[[str], Bench]
"""From a scene's name to a bench; picklable, as each worker makes its own."""

Judge: TypeAlias = Callable[[Observation, str], Ending]
"""A person or a model that looks at the last observation of an instruction's trial."""


class SimBench:
    """A simulated scene behind the same safety as in collection, judged by the strict predicates."""

    def __init__(self, scene: Scene, image_size: int = IMAGE_SIZE) -> None:
        self.scene = scene
        self._sim = SimRobot(scene, seed=0, image_size=image_size)
        self.world = self._sim.world
        """Privileged: for the expert's subgoals."""
        self.robot: Robot = SafeRobot(self._sim)
        self.goal: Goal = scene.tasks[0].goal
        self.seed = 0
        """Of the present start."""

    def set_up(self, instruction: str, seed: int) -> None:
        """The same seed always makes the same start."""
        self.goal, self.seed = goal_of(self.scene, instruction), seed
        self.world.reset(seed, goal=self.goal)
        self.robot = SafeRobot(self._sim)

    def wait(self) -> None:
        """Simulated time waits for nobody."""

    def fulfilled(self) -> bool:
        """The strict predicate."""
        return self.world.fulfilled(self.goal)

    def ending(self, observation: Observation, fault: str) -> Ending:
        """The strict predicate at the end. A fault of the policy's making counts as failure."""
        outcome: Outcome = "success" if self.fulfilled() and not fault else "failure"
        return Ending(outcome, self.world.objects_lost(), fault)

    def close(self) -> None:
        """Free the renderer."""
        self.robot.close()


def sim_bench(scenes: Sequence[Scene], name: str) -> SimBench:
    """The simulated bench of one scene among some; with `functools.partial` a MakeBench."""
    for scene in scenes:
        if scene.name == name:
            return SimBench(scene)
    raise ConfigError(f"no scene '{name}'; there is: {', '.join(s.name for s in scenes)}")


def goal_of(scene: Scene, instruction: str) -> Goal:
    """The state of the world that fulfils an instruction. ConfigError: the scene has no such task."""
    for task in scene.tasks:
        if task.instruction == instruction:
            return task.goal
    names = ", ".join(f"'{t.instruction}'" for t in scene.tasks)
    raise ConfigError(f"scene {scene.name} has no task '{instruction}'; there is: {names}")


class RealBench:
    """A real robot: a person sets the table, and a person or a model says how it ended."""

    def __init__(
        self,
        robot: Robot,
        judge: Judge,
        set_table: Callable[[str, int], None],
        clock: Clock | None = None,
    ) -> None:
        """`set_table(instruction, seed)` returns when a person has made the start."""
        self.robot = robot
        self._judge = judge
        self._set_table = set_table
        self._instruction = ""
        self._metronome = Metronome(clock or Clock(), robot.period_s)

    def set_up(self, instruction: str, seed: int) -> None:
        """Home first, so that the arm is out of the person's way."""
        self._instruction = instruction
        self.robot.home()
        self._set_table(instruction, seed)
        self._metronome.rest()

    def wait(self) -> None:
        """Keep the robot's period."""
        self._metronome.tick()

    def fulfilled(self) -> None:
        """Nobody looks before the end."""

    def ending(self, observation: Observation, fault: str) -> Ending:
        """A fault says nothing about the policy: unknown, and the robot is recovered."""
        if fault:
            self.robot.recover()
            return Ending("unknown", raw=fault)
        return self._judge(observation, self._instruction)

    def close(self) -> None:
        """Release the hardware."""
        self.robot.close()
