"""Who takes part in an episode: stations with their robots, models that think for all, and the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from soar.errors import ConfigError
from soar.interfaces import Policy, Robot, SubgoalGenerator, TaskProposer, VisionLanguageModel
from soar.registry import PAPER_STEPS_PER_SUBGOAL
from soar.types import Regime, Task


@dataclass(frozen=True)
class EpisodeConfig:
    """How long an episode is (paper: five subgoals, twenty steps for each, 5 Hz)."""

    num_subgoals: int = 5
    steps_per_subgoal: int = PAPER_STEPS_PER_SUBGOAL
    """Control steps for each subgoal."""
    prefetch_steps: int = 0
    """A next subgoal is imagined from the picture so many steps before it is due, while the arm goes on
    towards the last one. 0: from the picture when it is due, while the arm waits."""
    home_at_end: bool = True
    """Go home at the end, so that the next episode can begin."""

    def __post_init__(self) -> None:
        if (
            self.num_subgoals < 1
            or self.steps_per_subgoal < 1
            or not 0 <= self.prefetch_steps < self.steps_per_subgoal
        ):
            raise ConfigError(
                f"a plan needs subgoals and steps >= 1 and prefetch_steps below steps; got {self}"
            )

    @classmethod
    def with_steps_per_subgoal(cls, steps: int) -> EpisodeConfig:
        """As many steps as the paper's episodes, with so many for each subgoal. Raises ConfigError."""
        length = cls().length
        if not 1 <= steps <= length or length % steps:
            raise ConfigError(f"{steps} steps per subgoal; valid: a divisor of {length}")
        return cls(length // steps, steps)

    @property
    def length(self) -> int:
        """Control steps of an episode."""
        return self.num_subgoals * self.steps_per_subgoal


PAPER_EPISODE = EpisodeConfig()


@dataclass(frozen=True)
class Models:
    """Everything that thinks, shared by all stations."""

    vlm: VisionLanguageModel
    policy: Policy
    subgoals: SubgoalGenerator | None
    """None for a policy that is driven by the words themselves (LCBC)."""
    threshold: float = 0.5
    """P(success) from which the VLM's answer is called success."""

    @property
    def checkpoint(self) -> str:
        """Id of the policy's checkpoint; its name when it comes from none."""
        return getattr(self.policy, "checkpoint_id", "") or self.policy.name


@runtime_checkable
class Simulator(Protocol):
    """What a simulated table can do beside its robot: for measuring, and as a person's hand."""

    def truth(self, instruction: str) -> bool:
        """Whether the task is done now. No component of the loop asks."""

    def reset(self, seed: int) -> None:
        """Put everything somewhere on the table."""


@dataclass(frozen=True, eq=False)
class Station:
    """A robot at its table, with the tasks that make sense there."""

    name: str
    robot: Robot
    tasks: tuple[Task, ...]
    proposer: TaskProposer
    scene: str
    regime: Regime = "real"
    seed: int = 0
    simulation: Simulator | None = None
    """The simulated table under the robot; None for a real one."""
