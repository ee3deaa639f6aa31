"""Where trials happen: a robot, the hand that sets its table, and a judge. One simulated, one real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from soar.errors import ConfigError
from soar.interfaces import Robot
from soar.robots.safety import SafeRobot
from soar.robots.simulated import SimRobot
from soar.sim.scenes.spec import Goal, Scene
from soar.types import Observation, Outcome
from soar.utils.clock import Clock, Metronome

IMAGE_SIZE = 256
"""What the simulated camera gives, as in collection."""


class TrialOutcome(NamedTuple):
    """How a trial ended."""

    outcome: Outcome
    lost: tuple[str, ...] = ()
    """Things that left the table."""
    raw: str = ""
    """In the judge's own words, or what broke."""


@runtime_checkable
class EvalEnv(Protocol):
    """A robot on which trials can be made, one after another."""

    robot: Robot

    @property
    def metronome(self) -> Metronome | None:
        """Keeps a real arm's period; None where time waits for the robot."""

    def reset(self, instruction: str, seed: int) -> None:
        """Make a start from which the task can be done and isn't; the arm is at home."""

    def fulfilled(self) -> bool | None:
        """Whether the task is done right now; None where nobody looks before the end."""

    def judge(self, observation: Observation, done: bool | None, fault: str) -> TrialOutcome:
        """The outcome, from the last observation and whether the task was done then.

        The arm may have gone home since. `fault`: what broke the trial off, or nothing.
        """

    def close(self) -> None:
        """Release the robot. Safe to call twice."""


MakeEvalEnv: TypeAlias = Callable[[str], EvalEnv]
"""From a scene's name to a env; picklable, as each worker process makes its own."""


class SimEvalEnv:
    """A simulated scene behind the same safety as in collection, judged by the strict predicates."""

    metronome = None

    def __init__(self, scene: Scene, image_size: int = IMAGE_SIZE) -> None:
        self.scene = scene
        self._sim = SimRobot(scene, seed=0, image_size=image_size)
        self.world = self._sim.world
        """Privileged: for the expert's subgoals."""
        self.robot: Robot = SafeRobot(self._sim)
        self.goal: Goal = scene.tasks[0].goal
        self.seed = 0
        """Of the present start."""

    def reset(self, instruction: str, seed: int) -> None:
        """The same seed always makes the same start."""
        self.goal, self.seed = goal_of(self.scene, instruction), seed
        self.world.reset(seed, goal=self.goal)
        self.robot = SafeRobot(self._sim)

    def fulfilled(self) -> bool:
        """The strict predicate."""
        return self.world.fulfilled(self.goal)

    def judge(self, observation: Observation, done: bool | None, fault: str) -> TrialOutcome:
        """Done at the end is success. A fault here is of the policy's making, so it is failure."""
        outcome: Outcome = "success" if done and not fault else "failure"
        return TrialOutcome(outcome, self.world.objects_lost(), fault)

    def close(self) -> None:
        """Free the renderer."""
        self.robot.close()


def make_sim_env(scenes: Sequence[Scene], name: str) -> SimEvalEnv:
    """The simulated env of one scene among some; with `functools.partial` a MakeBench."""
    for scene in scenes:
        if scene.name == name:
            return SimEvalEnv(scene)
    raise ConfigError(f"no scene '{name}'; there is: {', '.join(s.name for s in scenes)}")


def goal_of(scene: Scene, instruction: str) -> Goal:
    """The state of the world that fulfils an instruction. ConfigError: the scene has no such task."""
    for task in scene.tasks:
        if task.instruction == instruction:
            return task.goal
    names = ", ".join(f"'{t.instruction}'" for t in scene.tasks)
    raise ConfigError(f"scene {scene.name} has no task '{instruction}'; there is: {names}")


class RealEvalEnv:
    """A real robot: a person sets the table, and a person or a model says how it ended."""

    def __init__(
        self,
        robot: Robot,
        judge: Callable[[Observation, str], TrialOutcome],
        set_table: Callable[[str, int], None],
        clock: Clock | None = None,
    ) -> None:
        """A env around a robot that is already behind its safety limits.

        `judge(observation, instruction)` looks at a trial's last observation;
        `set_table(instruction, seed)` returns when a person has made the start.
        """
        self.robot = robot
        self.metronome = Metronome(clock or Clock(), robot.period_s)
        self._judge, self._set_table = judge, set_table
        self._instruction = ""

    def reset(self, instruction: str, seed: int) -> None:
        """Home first, so that the arm is out of the person's way."""
        self._instruction = instruction
        self.robot.home()
        self._set_table(instruction, seed)
        self.metronome.rest()

    def fulfilled(self) -> None:
        """Nobody looks before the end."""

    def judge(self, observation: Observation, done: bool | None, fault: str) -> TrialOutcome:
        """A fault says nothing about the policy: unknown, and the robot is recovered."""
        if fault:
            self.robot.recover()
            return TrialOutcome("unknown", raw=fault)
        return self._judge(observation, self._instruction)

    def close(self) -> None:
        """Release the hardware."""
        self.robot.close()
