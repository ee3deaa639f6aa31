"""Quality measures of episodes, from their numbers alone: no image is decoded.

Idle share: share of control steps in which nothing moved. Action entropy: spread of each number of the actions over
32 equal bins of its range, in bits; 5 is uniform, 0 a constant. Duplicates: episodes with the same actions and states,
byte for byte, as in a copied or replayed recording.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from soar.contract.contract import LENGTHS_M, Contract, Numbers
from soar.contract.convert import turns_rad
from soar.contract.evidence import Evidence
from soar.contract.rotations import wrap
from soar.data.store.lance import LanceStore
from soar.data.store.steps import read_numbers
from soar.errors import StoreError
from soar.types import EpisodeSummary

IDLE_M, IDLE_RAD, IDLE_GRIPPER = 0.002, 0.01, 0.02
"""Motion within a control step below which nothing moved: of the hand [m], of an angle [rad], of the gripper as a
share of its range."""
BINS = 32
_KEPT = 200_000
"""Most control steps that the entropy is measured on; where there are more, evenly spread ones."""


class EpisodeQuality(NamedTuple):
    """Measures of one episode."""

    id: str
    steps: int
    idle: float
    """Share of control steps in which nothing moved, in [0, 1]."""
    longest_idle: int
    """Longest run of such steps."""


@dataclass(frozen=True, eq=False)
class Quality:
    """Measures of several episodes."""

    episodes: list[EpisodeQuality] = field(default_factory=list)
    names: tuple[str, ...] = ()
    """Names of an action's numbers."""
    entropy: Float64[np.ndarray, " _action"] = field(default_factory=lambda: np.zeros(0))
    """Entropy of each number of the actions [bits]."""
    duplicates: tuple[tuple[str, ...], ...] = ()
    """Groups of ids of equal episodes."""
    damaged: tuple[str, ...] = ()
    """Ids of the episodes whose file can't be read."""
    contradictions: tuple[str, ...] = ()
    """Numbers that don't look like what the contract says, one line each."""

    @property
    def idle(self) -> float:
        """Share of all control steps in which nothing moved, in [0, 1]."""
        steps = sum(episode.steps for episode in self.episodes)
        return sum(episode.idle * episode.steps for episode in self.episodes) / max(steps, 1)


def measure(store: LanceStore, summaries: Iterable[EpisodeSummary]) -> Quality:
    """Measure episodes of one contract; episodes of another one count for idle share and duplicates alone."""
    episodes, damaged = [], []
    actions: list[Float32[np.ndarray, "_n _action"]] = []
    same: dict[bytes, list[str]] = defaultdict(list)
    contract: Contract | None = None
    evidence: dict[tuple[Numbers, Numbers], Evidence] = {}
    for summary in summaries:
        try:
            executed, _, states, _ = read_numbers(store.steps_path(summary.id))
        except StoreError:
            damaged.append(summary.id)
            continue
        contract, own = contract or summary.contract, summary.contract
        evidence.setdefault((own.action, own.state), Evidence(own)).add(executed, states)
        idle = idle_steps(states, summary.contract.state)
        episodes.append(
            EpisodeQuality(
                summary.id, len(idle), float(np.mean(idle)) if len(idle) else 0.0, _run(idle)
            )
        )
        same[hashlib.sha256(executed.tobytes() + states.tobytes()).digest()].append(summary.id)
        if summary.contract.action == contract.action:
            actions.append(executed)
    return Quality(
        episodes,
        contract.action.names if contract else (),
        entropy(np.concatenate(actions)) if actions else np.zeros(0),
        tuple(tuple(ids) for ids in same.values() if len(ids) > 1),
        tuple(damaged),
        tuple(dict.fromkeys(line for e in evidence.values() for line in e.contradictions())),
    )


def idle_steps(states: Float32[np.ndarray, "n state"], numbers: Numbers) -> Bool[np.ndarray, " _t"]:
    """Return for each control step whether nothing moved: neither the hand or a joint, nor the gripper."""
    change = np.diff(states.astype(np.float64), axis=0)
    if numbers.scale:
        change[:, : numbers.motion_dim] *= numbers.scale
    unit = 1.0 if numbers.angle == "rad" else np.pi / 180
    angles = list(numbers.angle_indices)
    change[:, angles] = wrap(change[:, angles] * unit) / unit
    least = np.full(states.shape[1], IDLE_RAD / unit)
    if numbers.space == "end_effector":
        least[:3] = IDLE_M / LENGTHS_M[numbers.length]
    if not angles:
        least[3 : numbers.motion_dim] = np.inf  # their rotation counts as a whole
    if numbers.gripper is not None:
        least[-1] = IDLE_GRIPPER * abs(numbers.gripper.open - numbers.gripper.closed)
    idle: Bool[np.ndarray, " _t"] = np.all(np.abs(change) < least, axis=1)
    if not angles:
        idle &= turns_rad(states[:-1], states[1:], numbers) < IDLE_RAD
    return idle


def entropy(actions: Float32[np.ndarray, "n action"]) -> Float64[np.ndarray, " action"]:
    """Return the entropy of each number over equal bins from its 1 % to its 99 % quantile [bits]."""
    part = actions[:: 1 + len(actions) // _KEPT].astype(np.float64)
    low, high = np.quantile(part, (0.01, 0.99), axis=0)
    scaled = (part - low) / np.maximum(high - low, 1e-9)
    bins = np.clip((scaled * BINS).astype(int), 0, BINS - 1)
    found = np.zeros(actions.shape[1])
    for index in range(actions.shape[1]):
        counts: Int64[np.ndarray, " bins"] = np.bincount(bins[:, index], minlength=BINS)
        p = counts[counts > 0] / len(part)
        found[index] = -(p * np.log2(p)).sum() + 0.0
    return found


def _run(idle: Bool[np.ndarray, " _t"]) -> int:
    """Return the longest run of idle steps."""
    longest = current = 0
    for still in idle:
        current = current + 1 if still else 0
        longest = max(longest, current)
    return longest
