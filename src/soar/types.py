"""The nouns of the system: plain frozen values that every other module passes around.

Frames: the robot's base frame, x forward, y left, z up. Lengths in metres, angles in radians,
times in seconds. Images are uint8 RGB, row-major, as the camera gave them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, UInt8

ACTION_DIM = 7
STATE_DIM = 7

Image: TypeAlias = UInt8[np.ndarray, "_h _w 3"]
Images: TypeAlias = UInt8[np.ndarray, "_n _h _w 3"]
Action: TypeAlias = Float32[np.ndarray, "7"]
"""Delta of the end effector for one control step: dx, dy, dz [m], droll, dpitch, dyaw [rad],
and the gripper's absolute command, 0 closed to 1 open."""
Actions: TypeAlias = Float32[np.ndarray, "_n 7"]
Noise: TypeAlias = float | Float64[np.ndarray, "_n"]
"""Scale of a policy's standard deviation, for all robots of a batch or for each."""
State: TypeAlias = Float32[np.ndarray, "7"]
"""End-effector x, y, z [m], roll, pitch, yaw [rad] in the base frame, gripper opening 0..1."""

Outcome: TypeAlias = Literal["success", "failure", "unknown"]
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
    """What a robot sees and feels at one instant."""

    image: Image
    state: State
    time_s: float
    """When the image was taken, on the robot's own clock, which only ever goes forward."""


def image_only(images: Images) -> list[Observation]:
    """Observations of which nothing but the image is known: their states are NaN."""
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
    """An instruction, what it asks for, and the yes/no question that tells whether it is done (paper, Table 3).

    `soar.tasks` makes tasks. A task of an instruction alone can be executed, but not judged.
    """

    instruction: str
    question: Question = Question("")
    success_answer: bool = True
    """Answer that means *done*; the opposite answer means *feasible*."""
    objects: tuple[str, ...] = ()
    """Names of the objects that must be on the table for the task to make sense."""
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
    """The model's own words, for a person to read."""


@dataclass(frozen=True)
class Proposal:
    """A task chosen for the scene as it is now, and why (paper, section 3, Eq. 1)."""

    task: Task
    reason: Literal["uncertain", "nothing feasible", "no answers", "asked"]
    feasible: tuple[str, ...] = ()
    """Instructions of the feasible tasks."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Eq. 1's value per feasible instruction."""


@dataclass(frozen=True)
class Verdict:
    """A judge's word on one finished episode. Unknown never becomes a label."""

    outcome: Outcome
    p_success: float | None = None
    question: str = ""
    raw: str = ""
    judge: str = ""


@dataclass(frozen=True, eq=False)
class Subgoal:
    """An imagined image for the policy to reach, and the control step at which it was set."""

    image: Image
    step: int


@dataclass(frozen=True, eq=False)
class Step:
    """One control step as it happens: what was seen, what the policy wanted, what was executed."""

    index: int
    observation: Observation
    commanded: Action
    executed: Action
    subgoal: Subgoal | None


@dataclass(frozen=True)
class Provenance:
    """Where an episode comes from: enough to trace any number in a report back to it."""

    station: str
    regime: Regime
    scene: str
    seed: int
    started_s: float
    """Unix time at the first observation."""
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
    """The simulator's own word: undone before, done at the end. For measuring only: no component of the loop reads it."""


@dataclass(frozen=True, eq=False)
class Episode:
    """T control steps between T + 1 observations, with everything that is known about them."""

    instruction: str
    actions: Float32[np.ndarray, "t 7"]
    """The actions really executed."""
    commanded: Float32[np.ndarray, "t 7"]
    """The actions the policy asked for, before safety limits."""
    images: UInt8[np.ndarray, "t+1 h w 3"]
    states: Float32[np.ndarray, "t+1 7"]
    times_s: Float64[np.ndarray, "t+1"]
    subgoals: tuple[Subgoal, ...]
    verdict: Verdict
    provenance: Provenance

    def __len__(self) -> int:
        """Number of control steps."""
        return len(self.actions)


@dataclass(frozen=True)
class EpisodeSummary:
    """An episode's row without its frames: cheap to list, filter and count."""

    id: str
    instruction: str
    length: int
    verdict: Verdict
    provenance: Provenance


class TaskCount(NamedTuple):
    """How often a task was tried and how often its verdict was success."""

    attempts: int = 0
    successes: int = 0


History: TypeAlias = Mapping[str, TaskCount]
"""Counts by instruction, always computed from the episode store, never kept aside."""


@dataclass(frozen=True)
class Query:
    """Every field that is set must match; an empty query is every episode."""

    instructions: tuple[str, ...] = ()
    """Any of these, word for word."""
    stations: tuple[str, ...] = ()
    """Any of these stations."""
    scenes: tuple[str, ...] = ()
    """Any of these scenes."""
    regimes: tuple[Regime, ...] = ()
    """Any of these regimes."""
    outcomes: tuple[Outcome, ...] = ()
    """Any of these verdicts."""
    checkpoints: tuple[str, ...] = ()
    """Acted by any of these checkpoints."""
    rounds: tuple[int, ...] = ()
    """Collected in any of these rounds."""
    since_s: float | None = None
    """Unix time, inclusive."""
    until_s: float | None = None
    """Unix time, exclusive."""
    version: int | None = None
    """The store as it was at this version; None is the newest."""
    limit: int | None = None
    """At most so many, the oldest first."""
