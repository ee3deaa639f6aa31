"""Data types: frozen values that the modules exchange.

Poses are in the robot's base frame: x forward, y left, z up. Lengths are meters, angles radians, times seconds.
Images are uint8 RGB, row-major.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np
from annotated_types import Ge, Lt
from jaxtyping import Float32, Float64, UInt8

from soar.contract.contract import WIDOWX, Contract

ACTION_DIM = WIDOWX.action.dim
STATE_DIM = WIDOWX.state.dim
"""Widths of the packaged arm's actions and states; those of any other are in its contract."""

Image: TypeAlias = UInt8[np.ndarray, "_h _w 3"]
Images: TypeAlias = UInt8[np.ndarray, "_n _h _w 3"]
Action: TypeAlias = Float32[np.ndarray, "_action"]
"""Numbers with the meaning of the contract's `action`. The packaged arm: delta of the end effector for one control
step, dx, dy, dz [m], droll, dpitch, dyaw [rad], and the gripper's absolute command, 0 closed to 1 open."""
Actions: TypeAlias = Float32[np.ndarray, "_n _action"]
Noise: TypeAlias = float | Float64[np.ndarray, "_n"]
"""Scale of a policy's standard deviation, for all robots of a batch or for each."""
State: TypeAlias = Float32[np.ndarray, "_state"]
"""Numbers as the contract's `state` says. The packaged arm: end-effector x, y, z [m], roll, pitch, yaw [rad]
in the base frame, gripper opening 0..1."""

WORKSPACE_LOW, WORKSPACE_HIGH = (0.156, -0.205, 0.030), (0.423, 0.283, 0.165)
"""Corners of the end effector's default workspace box [m], from the paper's released configuration."""
SUCCESS_THRESHOLD = 0.5
"""P(success) from which an episode counts as a success, where nobody chose a threshold."""

Outcome: TypeAlias = Literal["success", "failure", "unknown"]
Actor: TypeAlias = Literal["policy", "person", "expert"]
"""Who chose an action: the policy, a person who took over, or a scripted expert."""
ACTORS: tuple[Actor, ...] = ("policy", "person", "expert")
End: TypeAlias = Literal["truncated", "terminated"]
"""Why an episode ended: its time was up, or something ended the task, such as success, a stop or the environment."""
Source: TypeAlias = Literal["probability", "word", "vote"]
"""Origin of a probability: a model's own number, a word of its reply (0 or 1), or the share of several replies."""
Regime: TypeAlias = Literal["broad", "bridge", "dev", "soar", "real"]
QuestionKind: TypeAlias = Literal[
    "in", "table", "left", "right", "open", "closed", "folded", "unfolded", "present", "other"
]
"""Relation or state that a question asks about; accuracies are reported for each."""
Skill: TypeAlias = Literal["put", "take out", "move", "open", "close", "fold", "unfold"]
"""Kinds of task that are one grasp and one release: of an object, which goes into or onto a container, out of it, or
to one side of the table; of a drawer's handle; of a cloth's hem."""
Direction: TypeAlias = Literal["left", "right"]
"""Side of the table as the camera shows it: left is +y in the robot's base frame."""


@dataclass(frozen=True, eq=False)
class Observation:
    """Camera images and proprioception of a robot at one instant."""

    image: Image
    """Image of the primary camera."""
    state: State
    time_s: float
    """Time of the image on the robot's own, monotonic clock."""
    other_images: Mapping[str, Image] = field(default_factory=dict)
    """Images of the contract's other cameras, by name."""


def image_only(images: Images) -> list[Observation]:
    """Make observations of images without proprioception: their states are NaN."""
    return [Observation(image, np.full(STATE_DIM, np.nan, np.float32), 0.0) for image in images]


@dataclass(frozen=True)
class Question:
    """A yes/no question about an image, with its parts where it has one of the known forms.

    "Is the green block in the bowl?" has kind "in", frame "is it in that?", object "green block" and container
    "bowl". A question of kind "other" has no parts. `soar.tasks.questions` makes and parses questions; two are equal
    if their texts are.
    """

    text: str
    kind: QuestionKind = field(default="other", compare=False)
    frame: str = field(default="", compare=False)
    """The text in lower case, with pronouns for its noun phrases."""
    object: str = field(default="", compare=False)
    container: str = field(default="", compare=False)

    def __str__(self) -> str:
        """The text."""
        return self.text


@dataclass(frozen=True)
class Task:
    """An instruction, its parts, and the yes/no question that decides whether it is done (paper, Table 3).

    `soar.tasks` makes tasks. A task of an instruction alone can be executed, but not judged.
    """

    instruction: str
    question: Question = Question("")
    success_answer: bool = True
    """Answer that means *done*; the opposite answer means *feasible*."""
    objects: tuple[str, ...] = ()
    """Names of the objects that must be on the table for the task to be possible."""
    skill: Skill | None = None
    """None for a task that is none of these skills."""
    object: str = ""
    """Name of the object that is moved, opened or folded."""
    container: str = ""
    """Name of the object that it is put into or onto ("put"), or taken out of or off ("take out")."""
    direction: Direction | None = None
    """Side of the table that the object is moved to ("move")."""


class Answer(NamedTuple):
    """A vision-language model's reply to one yes/no question about one image."""

    question: Question
    p_yes: float | None
    """Probability of "yes" in [0, 1]; None if the reply can't be read as yes or no."""
    raw: str = ""
    """The model's reply as text."""
    source: Source | None = None
    """Origin of `p_yes`; None if nobody says, as in stores of version 1."""
    decoded: str = ""
    """Word that a language model made of the reply; "" if none was asked."""


@dataclass(frozen=True)
class Proposal:
    """A task chosen for the current scene, and why (paper, section 3, Eq. 1)."""

    task: Task
    reason: Literal["uncertain", "nothing feasible", "no answers", "asked"]
    feasible: tuple[str, ...] = ()
    """Instructions of the feasible tasks."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Value of Eq. 1 of each feasible instruction."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Reason for each instruction that a VLM named in its own words and a filter refused."""
    asked: tuple[Answer, ...] = ()
    """Answers that the proposer asked for itself; an episode has them among its answers before."""


@dataclass(frozen=True)
class Vote:
    """One judgment among those that make a verdict."""

    p_success: float | None
    """Probability of success in [0, 1]; None if the reply is unknown."""
    source: Source | None = None
    """Origin of `p_success`; None if nobody says."""
    raw: str = ""
    """The model's reply as text."""
    decoded: str = ""
    """Word that a language model made of the reply; "" if none was asked."""
    judge: str = ""
    """Name of the model that was asked, or "person"."""
    question: str = ""
    """Question that was asked about the frames."""


@dataclass(frozen=True)
class Verdict:
    """Judgment of a finished episode. An unknown outcome never becomes a training label."""

    outcome: Outcome
    p_success: float | None = None
    """Probability of success in [0, 1]; None if the outcome is unknown."""
    question: str = ""
    """Question that was asked about the frames."""
    raw: str = ""
    """The model's reply as text."""
    judge: str = ""
    """Name of the success detector, or "person"."""
    source: Source | None = None
    """Origin of `p_success`; None if nobody says, as for persons and in stores of version 1."""
    decoded: str = ""
    """Word that a language model made of the reply; "" if none was asked."""
    votes: tuple[Vote, ...] = ()
    """Judgments that were combined into this one; empty where there was only one."""


@dataclass(frozen=True, eq=False)
class EpisodeFrames:
    """Input of a success detector: an episode's task and frames, with a VLM's answers where it was already asked."""

    task: Task
    images: Images
    """The first and the last frame; all frames in order for a detector that judges whole episodes."""
    answers_before: Mapping[Question, Answer] | None = None
    """Answers about the first frame, by question; None if no VLM was asked."""
    answers_after: Mapping[Question, Answer] | None = None
    """Answers about the last frame, by question; None if no VLM was asked."""
    undone_before: bool = False
    """Whether the task is known to be undone in the first frame, so that only the last one counts."""


@dataclass(frozen=True, eq=False)
class Subgoal:
    """A generated image for the policy to reach."""

    image: Image
    step: int
    """Control step from which it is the policy's goal."""


@dataclass(frozen=True, eq=False)
class Step:
    """One control step: observation, commanded action and executed action."""

    index: int
    observation: Observation
    commanded: Action
    """The policy's action."""
    executed: Action
    """The action after safety limits."""
    subgoal: Subgoal | None
    """The policy's goal; None for a policy that follows instructions."""
    actor: Actor = "policy"
    """Who chose the commanded action."""


@dataclass(frozen=True)
class Provenance:
    """Origin of an episode: station, seed, models and code version."""

    station: str
    regime: Regime
    scene: str
    seed: int
    started_s: float
    """Unix time of the first observation."""
    checkpoint: str = ""
    """Id of the policy's checkpoint; "expert" for scripted demonstrations."""
    config_hash: str = ""
    code_version: str = ""
    round: int = 0
    exploration: Mapping[str, float] = field(default_factory=dict)
    proposal: Proposal | None = None
    answers_before: tuple[Answer, ...] = ()
    answers_after: tuple[Answer, ...] = ()
    faults: tuple[str, ...] = ()
    truth: bool | None = None
    """Whether the simulator found the task undone before and done at the end; no component of the loop reads it."""


@dataclass(frozen=True, eq=False)
class Episode:
    """T control steps between T + 1 observations, with verdict and provenance."""

    instruction: str
    actions: Float32[np.ndarray, "t action"]
    """The executed actions."""
    commanded: Float32[np.ndarray, "t action"]
    """The policy's actions, before safety limits."""
    images: UInt8[np.ndarray, "t+1 h w 3"]
    """Images of the primary camera."""
    states: Float32[np.ndarray, "t+1 state"]
    times_s: Float64[np.ndarray, "t+1"]
    subgoals: tuple[Subgoal, ...]
    verdict: Verdict
    provenance: Provenance
    contract: Contract = WIDOWX
    """Meaning of actions, states and images."""
    other_images: Mapping[str, UInt8[np.ndarray, "t+1 _h _w 3"]] = field(default_factory=dict)
    """Images of the contract's other cameras, by name; each camera has its own size."""
    actors: tuple[Actor, ...] = ()
    """Who chose the action of each step; empty if the policy chose all, or whoever the provenance's
    checkpoint names."""
    end: End = "truncated"
    """Why the episode ended."""

    def __len__(self) -> int:
        """Number of control steps."""
        return len(self.actions)

    @property
    def interventions(self) -> int:
        """Number of steps whose action a person or an expert chose in place of the policy."""
        return sum(actor != "policy" for actor in self.actors)


@dataclass(frozen=True)
class EpisodeSummary:
    """An episode without its frames."""

    id: str
    instruction: str
    length: int
    verdict: Verdict
    provenance: Provenance
    contract: Contract = WIDOWX
    """Meaning of actions, states and images."""
    interventions: int = 0
    """Number of steps whose action a person or an expert chose in place of the policy."""
    end: End = "truncated"
    """Why the episode ended."""


class TaskCount(NamedTuple):
    """Numbers of a task's attempts and of its successes."""

    attempts: int = 0
    successes: int = 0


History: TypeAlias = Mapping[str, TaskCount]
"""Counts by instruction, computed from the episode store."""


@dataclass(frozen=True)
class Query:
    """A filter of episodes: every field that is set must match."""

    instructions: tuple[str, ...] = ()
    """Instructions, word for word."""
    stations: tuple[str, ...] = ()
    """Names of stations."""
    scenes: tuple[str, ...] = ()
    """Names of scenes."""
    regimes: tuple[Regime, ...] = ()
    """Regimes."""
    outcomes: tuple[Outcome, ...] = ()
    """Outcomes of the verdict."""
    checkpoints: tuple[str, ...] = ()
    """Ids of the policy's checkpoint."""
    rounds: tuple[Annotated[int, Ge(0), Lt(2**31)], ...] = ()
    """Rounds in which the episode was collected."""
    since_s: Annotated[float, Ge(0), Lt(1e11)] | None = None
    """Unix time, inclusive."""
    until_s: Annotated[float, Ge(0), Lt(1e11)] | None = None
    """Unix time, exclusive."""
    version: Annotated[int, Ge(1)] | None = None
    """Version of the store; None is the newest."""
    limit: Annotated[int, Ge(0)] | None = None
    """Maximum number of episodes, the oldest first."""
