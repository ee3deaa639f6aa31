"""Environments of an evaluation: a robot, the way its starts are set, and a judge; simulated or real."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from soar.errors import ConfigError, MotionHeld
from soar.interfaces import Robot
from soar.robots.operation.guard import MotionGuard
from soar.robots.safety import SafeRobot
from soar.robots.simulated import SimRobot
from soar.sim.scenes.spec import Goal, Scene
from soar.sim.world import CAMERA_PIXELS
from soar.types import Images, Observation, Outcome
from soar.utils.clock import Clock, Metronome
from soar.utils.progress import console, literal

_POLL_S = 0.1
"""Interval in seconds at which a held robot is checked."""


class TrialOutcome(NamedTuple):
    """Result of a trial."""

    outcome: Outcome
    lost: tuple[str, ...] = ()
    """Names of the objects that left the table."""
    raw: str = ""
    """The judge's own words, or the fault that ended the trial."""
    person: Outcome | None = None
    """Verdict of a person, if asked."""
    detector: Outcome | None = None
    """Verdict of a success detector, if there is one."""


@runtime_checkable
class EvalEnv(Protocol):
    """A robot on which trials are made, one after another."""

    robot: Robot
    needs_all_frames: bool
    """Whether the judge sees all frames of a trial, not only the first and the last."""

    @property
    def metronome(self) -> Metronome | None:
        """Keeper of a real arm's control period; None where time waits for the robot."""

    def reset(self, instruction: str, seed: int) -> None:
        """Set a start from which the task is possible and not done, with the arm at home."""

    def fulfilled(self) -> bool | None:
        """Whether the task is done now; None where this isn't known before the end."""

    def judge(self, images: Images, done: bool | None, fault: str) -> TrialOutcome:
        """Return the outcome.

        Args:
            images: the first and the last frame, or all frames; the arm may have gone home since.
            done: whether the task was done in the last frame, where this is known.
            fault: what ended the trial early; empty for nothing.
        """

    def close(self) -> None:
        """Release the robot. Safe to call twice."""


MakeEvalEnv: TypeAlias = Callable[[str], EvalEnv]
"""Makes the environment of a scene, by name; picklable, as each worker process makes its own."""


class SimEvalEnv:
    """A simulated scene behind the same safety limits as in collection, judged by strict predicates."""

    metronome = None
    needs_all_frames = False

    def __init__(self, scene: Scene, image_size: int = CAMERA_PIXELS) -> None:
        self.scene = scene
        self._sim = SimRobot(scene, seed=0, image_size=image_size)
        self.world = self._sim.world
        """The simulated world, for the expert's subgoals."""
        self.robot: Robot = SafeRobot(self._sim)
        self.goal: Goal = scene.tasks[0].goal
        self.seed = 0
        """Seed of the present start."""

    def reset(self, instruction: str, seed: int) -> None:
        """Set a start; the same seed always sets the same one. Raises ConfigError: there is no such task."""
        self.goal, self.seed = self.scene.task(instruction).goal, seed
        self.world.reset(seed, goal=self.goal)
        self.robot = SafeRobot(self._sim)

    def set_task(self, instruction: str) -> None:
        """Go on with another task in the scene as it is. Raises ConfigError: there is no such task."""
        self.goal = self.scene.task(instruction).goal

    def fulfilled(self) -> bool:
        """Whether the strict predicate of the task holds."""
        return self.world.fulfilled(self.goal)

    def judge(self, images: Images, done: bool | None, fault: str) -> TrialOutcome:
        """Return success if the task is done at the end. A fault here is the policy's, so it is a failure."""
        outcome: Outcome = "success" if done and not fault else "failure"
        return TrialOutcome(outcome, self.world.objects_lost(), fault)

    def close(self) -> None:
        """Release the renderer."""
        self.robot.close()


def make_sim_env(scenes: Sequence[Scene], name: str) -> SimEvalEnv:
    """Make the environment of one of some scenes. Raises ConfigError: there is no such scene."""
    for scene in scenes:
        if scene.name == name:
            return SimEvalEnv(scene)
    raise ConfigError(f"no scene '{name}'; there is: {', '.join(s.name for s in scenes)}")


@runtime_checkable
class Judge(Protocol):
    """A judge of a real robot's trials."""

    @property
    def needs_all_frames(self) -> bool:
        """Whether it judges all frames, not only the first and the last."""

    def judge(self, instruction: str, images: Images) -> TrialOutcome:
        """Judge a trial by its frames."""


@runtime_checkable
class Starts(Protocol):
    """The way in which the starts of a real robot's trials come about."""

    def can_start(self, instruction: str, observation: Observation) -> bool:
        """Whether the task can start in the scene as it is, or a person will make it so."""

    def set(self, instruction: str, seed: int, observe: Callable[[], Observation]) -> None:
        """Return once the start is set. `observe`: observes the scene as it is now."""


class RealEvalEnv:
    """A real robot, whose starts are set and whose trials are judged by others."""

    def __init__(
        self,
        robot: Robot,
        judge: Judge,
        starts: Starts,
        clock: Clock | None = None,
        guard: MotionGuard | None = None,
    ) -> None:
        """Wrap a robot that is already behind its safety limits. `guard`: what a person says about its motion."""
        self.robot = robot
        self._guard = guard
        self.metronome = Metronome(clock or Clock(), robot.period_s)
        self.needs_all_frames = judge.needs_all_frames
        self._judge, self._starts = judge, starts
        self._instruction = ""

    def can_start(self, instruction: str) -> bool:
        """Whether the task can start in the scene as it is; the arm is at home."""
        return self._starts.can_start(instruction, self.robot.observe())

    def reset(self, instruction: str, seed: int) -> None:
        """Go home, so that the arm is out of a person's way, and have the start set."""
        self._instruction = instruction
        self.when_free(self.robot.home)
        self._starts.set(instruction, seed, self.robot.observe)
        self.metronome.reset()

    def fulfilled(self) -> None:
        """Return None: this isn't known before the end."""

    def judge(self, images: Images, done: bool | None, fault: str) -> TrialOutcome:
        """Return the judge's verdict. A fault says nothing about the policy: unknown, and the robot is recovered."""
        if fault:
            self.when_free(self.robot.recover)
            return TrialOutcome("unknown", raw=fault)
        return self._judge.judge(self._instruction, images)

    def when_free(self, motion: Callable[[], None]) -> None:
        """Let the robot move; while a person holds it, wait for the release, and begin the motion again."""
        told = ""
        while True:
            try:
                return motion()
            except MotionHeld as held:
                if self._guard is None:
                    raise
                reason = str(held)
                while reason:
                    if reason != told:
                        console.print(f"held: {literal(reason)}")
                    told = reason
                    time.sleep(_POLL_S)
                    reason = self._guard.reason()

    def close(self) -> None:
        """Release the hardware."""
        self.robot.close()
