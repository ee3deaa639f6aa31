"""The verbs of the system, one Protocol for each component. Anything that fits plugs in.

Everything that runs a model is batched: one robot is a batch of one, a fleet shares the same models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from soar.types import (
    Action,
    Actions,
    Answer,
    Episode,
    EpisodeSummary,
    History,
    Image,
    Images,
    Noise,
    Observation,
    Proposal,
    Query,
    Question,
    Task,
    Verdict,
)

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Robot(Protocol):
    """An arm with a camera: the only thing a control loop drives."""

    period_s: float
    """Time between two control steps; 0.2 s in the paper."""

    def observe(self) -> Observation:
        """What the robot sees now. Raises RobotFault or CameraFault."""

    def execute(self, action: Action) -> Action:
        """Move for one control step and return the action really executed. Raises RobotFault."""

    def home(self) -> None:
        """Go to the neutral pose with the gripper open; objects stay where they are."""

    def recover(self) -> None:
        """Try to clear a fault in software (reboot motors, reopen the camera). Raises RobotFault."""

    def close(self) -> None:
        """Release the hardware. Safe to call twice."""


@runtime_checkable
class VisionLanguageModel(Protocol):
    """A model that answers yes/no questions about images."""

    name: str

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return one list of answers for each image, in the order of its questions.

        A question's text is all that a model needs; its parts spare it the parsing.

        Raises:
            ModelUnavailable: nothing came back within the time limit.
        """


@runtime_checkable
class TaskProposer(Protocol):
    """Chooses what to practise next."""

    def propose(
        self,
        observation: Observation,
        answers: Mapping[Question, Answer],
        history: History,
        rng: np.random.Generator,
    ) -> Proposal:
        """A task for the scene as it is now, from the answers to the questions of this look."""


@runtime_checkable
class SubgoalGenerator(Protocol):
    """Imagination: what the scene would look like a little later, were the instruction followed."""

    name: str

    def generate(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        rng: np.random.Generator,
    ) -> Images:
        """One imagined image for each observation; height and width are the generator's own.

        Where an observation is itself imagined, its state is NaN (`types.pictures`).
        """


@runtime_checkable
class Policy(Protocol):
    """Maps observations and goals to actions."""

    name: str

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Actions, one for each observation.

        `noise` scales the policy's own standard deviation, for all or for each; 0 is its mean.
        """

    def reset(self) -> None:
        """Forget what belongs to the running episode (gripper hysteresis). Called before each one."""


@runtime_checkable
class SuccessDetector(Protocol):
    """Judges whether the last frame of an episode shows the task done."""

    def judge(self, observation: Observation, task: Task) -> Verdict:
        """A verdict; "unknown" where the model's reply can't be read."""


@runtime_checkable
class EpisodeStore(Protocol):
    """The meeting place of collection and training. An episode is visible whole or not at all."""

    @property
    def version(self) -> int:
        """Grows with every committed change."""

    def append(self, episode: Episode) -> str:
        """Store one episode and return its id. Raises StoreError, and then nothing of it is visible."""

    def load(self, id: str) -> Episode:
        """One episode with its frames. Raises StoreError."""

    def query(self, query: Query | None = None) -> Iterator[EpisodeSummary]:
        """Summaries of the episodes that match, oldest first."""

    def history(self, query: Query | None = None) -> History:
        """Attempts and successes per instruction among the episodes that match."""


@runtime_checkable
class Learner(Protocol):
    """A model that can be fitted: parameters and a loss."""

    def loss(
        self, batch: Mapping[str, torch.Tensor], generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Scalar loss and named scalar metrics for one batch on the model's device."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Everything that is trained."""
