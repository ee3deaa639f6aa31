"""Protocols of the components. An object of the user's own with these attributes and methods can replace any of them.

Calls of models are batched: one robot is a batch of one, and several stations share the same models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import numpy as np

from soar.types import (
    Action,
    Actions,
    Answer,
    Episode,
    EpisodeFrames,
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
from soar.utils.files import Json

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Robot(Protocol):
    """An arm with one camera or more.

    An optional attribute `contract` (`soar.contract.contract.Contract`) says what its numbers mean; without it, and
    without one in its station's file, they mean the WidowX's. An optional method `hold()` stops the arm at once;
    it may be called from another thread while any other method runs.
    """

    period_s: float
    """Duration of a control step; 0.2 s in the paper."""

    def observe(self) -> Observation:
        """Return the current observation. Raises RobotFault, CameraFault."""

    def execute(self, action: Action) -> Action:
        """Start the motion of one control step and return the executed action. Raises RobotFault."""

    def home(self) -> None:
        """Move to the neutral pose with the gripper open; objects stay where they are. Raises RobotFault."""

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

        A question's text suffices to answer it; its parts are for models that don't parse text.

        Raises:
            ModelUnavailable: no reply within the time limit.
        """


@runtime_checkable
class TaskProposer(Protocol):
    """Chooses the next task of a station."""

    def propose(
        self,
        observation: Observation,
        answers: Mapping[Question, Answer],
        history: History,
        rng: np.random.Generator,
    ) -> Proposal:
        """Return a task for the current scene.

        The answers are about the station's own tasks. A proposal of another one needs the answer to its question in
        `asked`, or its verdict is unknown.

        Args:
            observation: current observation.
            answers: the VLM's answers about it, by question.
            history: counts of attempts and successes, by instruction.
            rng: random number generator.
        """


@runtime_checkable
class SubgoalGenerator(Protocol):
    """Generates an image of the scene a little later, as it would be if the task's instruction were followed."""

    name: str

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Return one RGB image for each observation, 0 to 255, of the generator's own height and width.

        The state of an observation may be NaN (`types.image_only`), for instance if its image is itself generated.

        Raises:
            ModelUnavailable: no reply within the time limit.
        """


@runtime_checkable
class Policy(Protocol):
    """Maps observations and goals to actions.

    An optional attribute `contract` says what it learned from, and `takes_state` whether it takes the state (true
    without it); they are compared with the robot's before a run.
    """

    name: str

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Return one action for each observation.

        Args:
            observations: current observations.
            goals: goal images, or instructions.
            rng: random number generator.
            noise: scale of the policy's standard deviation; 0 returns the mean.
        """

    def reset(self) -> None:
        """Clear the state of an episode, such as the gripper's hysteresis. Called before each episode."""


@runtime_checkable
class InstructedPolicy(Policy, Protocol):
    """A policy that is told the instructions even where its goals are images."""

    def instruct(self, instructions: Sequence[str]) -> None:
        """Take over the instruction of each robot of the next batches. Called after `reset`."""


@runtime_checkable
class TrainablePolicy(Policy, Protocol):
    """A third-party policy that `soar improve` co-trains by the policy's own code."""

    def fit(
        self,
        store: EpisodeStore,
        query: Query,
        out: Path,
        *,
        demonstrations: EpisodeStore | None = None,
    ) -> Mapping[str, Json]:
        """Train on episodes, from the weights that this object holds. A restart calls it again with the same arguments.

        Args:
            store: episode store.
            query: the episodes to learn from, successes unless the run's configuration says otherwise.
            out: folder for what is learned; it may hold what an interrupted call left.
            demonstrations: demonstrations to co-train on.

        Returns:
            The options with which the function that made this policy makes the trained one, such as
            {"folder": str(out)}.

        Raises:
            ConfigError: nothing can be learned from the episodes.
        """


@runtime_checkable
class SuccessDetector(Protocol):
    """Judges episodes by their first and last frames."""

    name: str
    threshold: float
    """P(success) from which an episode counts as a success."""

    def judge(self, episodes: Sequence[EpisodeFrames]) -> list[Verdict]:
        """Return one verdict for each episode, "unknown" where it can't be judged.

        Raises:
            ModelUnavailable: no reply within the time limit.
        """


@runtime_checkable
class EpisodeSuccessDetector(Protocol):
    """Judges an episode by all of its frames."""

    name: str
    threshold: float
    """P(success) from which an episode counts as a success."""

    def judge_episode(self, frames: Images, task: Task) -> Verdict:
        """Return the verdict on an episode of T steps from its T + 1 frames, "unknown" where it can't be judged.

        Raises:
            ModelUnavailable: no reply within the time limit.
        """


AnySuccessDetector: TypeAlias = SuccessDetector | EpisodeSuccessDetector


@runtime_checkable
class EpisodeStore(Protocol):
    """Storage that collection writes and training reads. An episode is visible as a whole or not at all."""

    @property
    def version(self) -> int:
        """Version number, which grows with every committed change."""

    def append(self, episode: Episode) -> str:
        """Store an episode and return its id. Raises StoreError, after which nothing of it is visible."""

    def load(self, id: str) -> Episode:
        """Return an episode with its frames. Raises StoreError."""

    def query(self, query: Query | None = None) -> Iterator[EpisodeSummary]:
        """Yield summaries of the episodes that match, oldest first."""

    def history(self, query: Query | None = None) -> History:
        """Return the attempts and successes of each instruction among the episodes that match."""


@runtime_checkable
class Learner(Protocol):
    """A trainable model."""

    def loss(
        self, batch: Mapping[str, torch.Tensor], generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the scalar loss and named scalar metrics of a batch on the model's device."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Yield the trained parameters."""
