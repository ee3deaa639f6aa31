"""A camera, an imagination and attempts made for tests; places are read rightly, but for what is told to be wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from soar.data.frame_cache import Frames
from soar.improvement.methods.corrections.motion_plan import HOLDING, PickPlaceTarget, plan_motion
from soar.types import EpisodeSummary, Observation, Provenance, Verdict

TIP_M = 0.03


def seen(places: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
    """A pinhole 0.8 m away that looks down 55 degrees; x right (the robot's -y), y down."""
    away = places - np.array([0.75, 0.0, 0.65])
    angle = np.radians(55)
    ahead = np.array([-np.cos(angle), 0, -np.sin(angle)])
    up = np.array([-np.sin(angle), 0, np.cos(angle)])
    depth = away @ ahead
    x, y = away @ np.array([0, 1.0, 0]), -(away @ up)
    return np.stack([x, y], -1) / depth[..., None] / np.tan(np.radians(22))


def arm(states: Float[np.ndarray, "n 7"]) -> Float[np.ndarray, "n 5 2"]:
    """Hand, fingertips, wrist, and the table's point below the hand."""
    hand, yaw = states[:, :3], states[:, 5]
    across = np.stack([-np.sin(yaw), np.cos(yaw), 0 * yaw], 1) * (states[:, 6:] * 0.037 + 0.005)
    tip = hand - np.array([0, 0, TIP_M])
    foot = hand * np.array([1, 1, 0])
    parts = (hand, tip + across, tip - across, hand + np.array([0, 0, 0.1]), foot)
    return np.stack([seen(p) for p in parts], 1)


@dataclass
class Reader:
    """Reads the arm with noise, and things where `things` says they are, `beside` that."""

    things: dict[str, Float[np.ndarray, "2 3"]]
    beside: Float[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2))
    noise: float = 0.02

    def read(self, observations: Sequence[Observation], words: Sequence[str]) -> np.ndarray:
        """As `CompactSubgoals.read`."""
        states = np.stack([o.state for o in observations]).astype(float)
        places = arm(states)
        places = np.concatenate([places[:, :1], places[:, :1], places[:, 1:]], 1)
        rng = np.random.default_rng(0)
        return (places + rng.normal(0, self.noise, places.shape)).astype(np.float32)

    def find(self, observations: Sequence[Observation], words: Sequence[str]) -> np.ndarray:
        """As `CompactSubgoals.find`; which episode it is, is written in the image."""
        places = [seen(self.things[str(int(o.image[0, 0, 0]))]) for o in observations]
        return (np.array(places) + self.beside).astype(np.float32)


HEIGHT, PUT = 0.035, "put the red block in the bowl"
BOWL = np.array([0.3, 0.12, 0.02])
BESIDE = np.array([0.03, 0.06])
"""What the reader gets wrong, everywhere: 2 cm."""


def errand(place: np.ndarray) -> PickPlaceTarget:
    grasp = np.array([*place[:2], HEIGHT])
    return PickPlaceTarget(grasp, 0.3, np.array([*BOWL[:2], 0.06]), 0.4, 0.1, 0.08, 0.04)


def episode(place: np.ndarray, short: float) -> tuple[np.ndarray, np.ndarray]:
    """States, and what the gripper was told: a whole attempt at the place, or one `short` of it [m] that holds nothing."""
    home = np.array([0.22, 0.0, 0.16, 0, 0, 0, 1.0])
    states, doing, opens = plan_motion(home, errand(place - np.array([short, 0, 0])), False)
    states, orders = states.copy(), opens.astype(float)
    if short:
        states[doing == HOLDING, 6] = 0.01
    return states, orders


def world(shorts: list[float], seed: int = 0) -> tuple[Frames, Reader, np.ndarray]:
    rng, states, orders, starts, summaries, things = (
        np.random.default_rng(seed),
        [],
        [],
        [0],
        [],
        {},
    )
    places = np.array([[rng.uniform(0.16, 0.4), rng.uniform(-0.18, 0.02), 0.01] for _ in shorts])
    for i, (place, short) in enumerate(zip(places, shorts, strict=True)):
        s, o = episode(place, short)
        states.append(s)
        orders.append(o)
        starts.append(starts[-1] + len(s))
        verdict = Verdict("failure", 0.2) if short else Verdict("success", 0.9)
        where = Provenance("arm", "dev", "dev1", i, float(i), "", "", "")
        summaries.append(EpisodeSummary(str(i), PUT, len(s) - 1, verdict, where))
        things[str(i)] = np.stack([place, BOWL])
    felt = np.concatenate(states).astype(np.float32)
    actions = np.zeros((len(felt), 7), np.float32)
    actions[:-1, :6] = np.diff(felt[:, :6], axis=0)
    actions[:, 6] = np.concatenate(orders)
    actions[np.array(starts[1:]) - 1] = 0
    images = np.zeros((len(felt), 8, 8, 3), np.uint8)
    images[:] = np.repeat(np.arange(len(shorts)), np.diff(starts))[:, None, None, None]
    frames = Frames(images, felt, actions, np.array(starts), tuple(summaries))
    return frames, Reader(things, BESIDE), places
