"""A camera, a keypoint reader and attempts made for tests; readings are right but for the errors asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from soar.data.frame_cache import Frames
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.motion_plan import (
    HOLDING,
    PickPlaceTarget,
    ScriptedPlanner,
)
from soar.types import EpisodeSummary, Observation, Provenance, Verdict

TIP_M = 0.03
CONFIG = CorrectionsConfig()
PLANNER = ScriptedPlanner(CONFIG)


def project(positions: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
    """A pinhole 0.8 m away that looks down 55 degrees; x right (the robot's -y), y down."""
    away = positions - np.array([0.75, 0.0, 0.65])
    angle = np.radians(55)
    ahead = np.array([-np.cos(angle), 0, -np.sin(angle)])
    up = np.array([-np.sin(angle), 0, np.cos(angle)])
    depth = away @ ahead
    x, y = away @ np.array([0, 1.0, 0]), -(away @ up)
    return np.stack([x, y], -1) / depth[..., None] / np.tan(np.radians(22))


def arm(states: Float[np.ndarray, "n 7"]) -> Float[np.ndarray, "n 5 2"]:
    """Gripper, fingertips, wrist, and the point of the table below the gripper."""
    gripper, yaw = states[:, :3], states[:, 5]
    across = np.stack([-np.sin(yaw), np.cos(yaw), 0 * yaw], 1) * (states[:, 6:] * 0.037 + 0.005)
    tip = gripper - np.array([0, 0, TIP_M])
    foot = gripper * np.array([1, 1, 0])
    parts = (gripper, tip + across, tip - across, gripper + np.array([0, 0, 0.1]), foot)
    return np.stack([project(p) for p in parts], 1)


@dataclass
class Reader:
    """Reads the arm with noise, and objects at an `offset` from their positions in `objects`."""

    objects: dict[str, Float[np.ndarray, "2 3"]]
    offset: Float[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2))
    noise: float = 0.02

    def read_keypoints(
        self, observations: Sequence[Observation], words: Sequence[str]
    ) -> np.ndarray:
        """As `CompactSubgoalGenerator.read`."""
        states = np.stack([o.state for o in observations]).astype(float)
        readings = arm(states)
        readings = np.concatenate([readings[:, :1], readings[:, :1], readings[:, 1:]], 1)
        rng = np.random.default_rng(0)
        return (readings + rng.normal(0, self.noise, readings.shape)).astype(np.float32)

    def locate_objects(
        self, observations: Sequence[Observation], words: Sequence[str]
    ) -> np.ndarray:
        """As `CompactSubgoalGenerator.find`; the image holds the number of the episode."""
        positions = [project(self.objects[str(int(o.image[0, 0, 0]))]) for o in observations]
        return (np.array(positions) + self.offset).astype(np.float32)


HEIGHT, PUT = 0.035, "put the red block in the bowl"
BOWL = np.array([0.3, 0.12, 0.02])
OFFSET = np.array([0.03, 0.06])
"""Error of all object readings: 2 cm."""


def target(position: np.ndarray) -> PickPlaceTarget:
    grasp = np.array([*position[:2], HEIGHT])
    return PickPlaceTarget(grasp, 0.3, np.array([*BOWL[:2], 0.06]), 0.4, 0.1, 0.08, 0.04)


def episode(position: np.ndarray, short: float) -> tuple[np.ndarray, np.ndarray]:
    """States and gripper commands of a whole attempt, or of one that ends `short` of the object [m], empty."""
    home = np.array([0.22, 0.0, 0.16, 0, 0, 0, 1.0])
    states, phases, opens = PLANNER.plan(home, target(position - np.array([short, 0, 0])), False)
    states, commands = states.copy(), opens.astype(float)
    if short:
        states[phases == HOLDING, 6] = 0.01
    return states, commands


def world(shorts: list[float], seed: int = 0) -> tuple[Frames, Reader, np.ndarray]:
    rng, states, commands, starts, summaries, objects = (
        np.random.default_rng(seed),
        [],
        [],
        [0],
        [],
        {},
    )
    positions = np.array([[rng.uniform(0.16, 0.4), rng.uniform(-0.18, 0.02), 0.01] for _ in shorts])
    for i, (position, short) in enumerate(zip(positions, shorts, strict=True)):
        s, c = episode(position, short)
        states.append(s)
        commands.append(c)
        starts.append(starts[-1] + len(s))
        verdict = Verdict("failure", 0.2) if short else Verdict("success", 0.9)
        where = Provenance("arm", "dev", "dev1", i, float(i), "", "", "")
        summaries.append(EpisodeSummary(str(i), PUT, len(s) - 1, verdict, where))
        objects[str(i)] = np.stack([position, BOWL])
    measured = np.concatenate(states).astype(np.float32)
    actions = np.zeros((len(measured), 7), np.float32)
    actions[:-1, :6] = np.diff(measured[:, :6], axis=0)
    actions[:, 6] = np.concatenate(commands)
    actions[np.array(starts[1:]) - 1] = 0
    images = np.zeros((len(measured), 8, 8, 3), np.uint8)
    images[:] = np.repeat(np.arange(len(shorts)), np.diff(starts))[:, None, None, None]
    frames = Frames(images, measured, actions, np.array(starts), tuple(summaries))
    return frames, Reader(objects, OFFSET), positions
