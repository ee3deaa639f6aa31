"""A camera and an imagination made for tests: it reads places rightly, but for what it is told to get wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from soar.types import Observation

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
