"""Stations and the configuration of their episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Protocol, runtime_checkable

from annotated_types import Ge, Gt

from soar.contract.contract import WIDOWX
from soar.errors import ConfigError
from soar.interfaces import Robot, TaskProposer
from soar.registry import PAPER_STEPS_PER_SUBGOAL
from soar.robots.operation.guard import MotionGuard
from soar.rollout.takeover import Takeover
from soar.types import Regime, Task
from soar.utils.config import check_ranges


@dataclass(frozen=True)
class EpisodeConfig:
    """Length and timing of an episode (paper: five subgoals, twenty steps for each, 5 Hz)."""

    num_subgoals: Annotated[int, Ge(1)] = 5
    """Number of subgoals."""
    steps_per_subgoal: Annotated[int, Ge(1)] = PAPER_STEPS_PER_SUBGOAL
    """Control steps per subgoal."""
    prefetch_steps: Annotated[int, Ge(0)] = 0
    """Control steps by which a subgoal is generated early, from an earlier image while the arm moves on. With 0 it is
    generated from the current image while the arm waits."""
    home_at_end: bool = True
    """Whether the arm goes home at the end, so that the next episode can begin."""
    duration_s: Annotated[float, Gt(0)] | None = None
    """Duration of an episode in seconds, on a robot of any control period; the other fields then count control steps of
    0.2 s (see `at`). None for exactly as many control steps as they say."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.prefetch_steps >= self.steps_per_subgoal:
            raise ConfigError(
                f"prefetch_steps is {self.prefetch_steps}; valid: below steps_per_subgoal, {self.steps_per_subgoal}"
            )

    @classmethod
    def with_steps_per_subgoal(cls, steps: int) -> EpisodeConfig:
        """Return a configuration of the default length, with `steps` control steps per subgoal. Raises ConfigError."""
        length = cls().length
        if not 1 <= steps <= length or length % steps:
            raise ConfigError(f"{steps} steps per subgoal; valid: a divisor of {length}")
        return cls(length // steps, steps)

    def at(self, period_s: float) -> EpisodeConfig:
        """Return the configuration in control steps of a robot's period: subgoals and episode last as long in time."""
        if self.duration_s is None:
            return self
        usual, total = WIDOWX.period_s, self.duration_s / period_s
        steps = max(1, min(round(self.steps_per_subgoal * usual / period_s), round(total)))
        prefetch = min(round(self.prefetch_steps * usual / period_s), steps - 1)
        count = max(1, round(total / steps))
        return replace(
            self,
            num_subgoals=count,
            steps_per_subgoal=steps,
            prefetch_steps=prefetch,
            duration_s=None,
        )

    @property
    def length(self) -> int:
        """Control steps of an episode."""
        return self.num_subgoals * self.steps_per_subgoal


PAPER_EPISODE = EpisodeConfig()


@runtime_checkable
class Simulator(Protocol):
    """The simulated table under a robot."""

    def truth(self, instruction: str) -> bool:
        """Whether the task is done now; for measurements only: no component of the loop asks."""

    def reset(self, seed: int) -> None:
        """Place all objects on the table at random."""


@dataclass(frozen=True, eq=False)
class Station:
    """A robot at its table, with the tasks that are possible there."""

    name: str
    robot: Robot
    tasks: tuple[Task, ...]
    proposer: TaskProposer
    scene: str
    """Name of the scene that its episodes are filed under."""
    regime: Regime = "real"
    seed: int = 0
    """Seed from which those of its episodes follow."""
    simulation: Simulator | None = None
    """The simulated table under the robot; None for a real one."""
    guard: MotionGuard | None = None
    """What a person says about the robot's motion; None where nobody can."""
    takeover: Takeover | None = None
    """A person who may act in the policy's place; None where nobody can."""
    choose_tasks: Callable[[Sequence[str]], tuple[tuple[Task, ...], TaskProposer]] | None = None
    """Returns the tasks of other instructions (of no instructions: the station's own), and their proposer; raises
    ConfigError. None where the tasks can't be changed."""
