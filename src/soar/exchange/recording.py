"""An episode with encoded images: what readers and writers of other formats exchange with a store."""

from __future__ import annotations

import calendar
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from soar.contract.contract import WIDOWX, Contract
from soar.data.store.images import decode, encode, image_size
from soar.data.store.rows import from_row
from soar.errors import ConfigError
from soar.types import Actor, End, EpisodeSummary, Image, Provenance, Verdict
from soar.utils.config import from_plain
from soar.utils.media import resize

STEPS_PER_SUBGOAL = 20
"""Control steps for which the paper's robots pursue a subgoal. Its goals went through a video codec, so that equal ones
differ in a released data set."""


def stated_contract(
    about: Mapping[str, Any], given: Contract | None, folder: Path
) -> Contract | None:
    """Return the contract that soar wrote beside a data set; None without one.

    Args:
        about: what soar wrote.
        given: a contract that a person gives.
        folder: the data set's folder.

    Raises:
        ConfigError: it is damaged, or a person gives one that would not count.
    """
    if "contract" not in about:
        return None
    if given is not None:
        raise ConfigError(
            f"{folder} states its contract; --contract is for a data set that doesn't"
        )
    return from_plain(Contract, about["contract"], f"{folder}: its contract")


@dataclass(frozen=True, eq=False)
class Recording:
    """T control steps between T + 1 observations, with images as JPEG or PNG files."""

    key: str
    """Name of the episode, unique in its data set."""
    instruction: str
    cameras: Mapping[str, Sequence[bytes]]
    """T + 1 image files of each camera of the contract, the primary one first."""
    actions: Float32[np.ndarray, "t action"]
    """The executed actions."""
    commanded: Float32[np.ndarray, "t action"]
    """The policy's actions; the executed ones where the source doesn't tell them apart."""
    states: Float32[np.ndarray, "t+1 state"]
    times_s: Float64[np.ndarray, " t+1"]
    verdict: Verdict
    provenance: Provenance
    contract: Contract = WIDOWX
    subgoals: Sequence[tuple[int, bytes]] = ()
    """Image files of the subgoals, each after the step from which it is the policy's goal."""
    actors: tuple[Actor, ...] = ()
    end: End = "truncated"
    id: str = ""
    """Id of the episode in the store that it comes from; "" for an episode of another origin."""

    def __len__(self) -> int:
        """Number of control steps."""
        return len(self.actions)

    def restored(self, row: Mapping[str, Any]) -> Recording:
        """Return an episode that soar exported with its own id, verdict, provenance, end and actors.

        `row`: its row in the store, as `soar.data.store.rows.to_row` makes it.
        """
        summary = from_row(row)
        return replace(
            self,
            id=summary.id,
            verdict=summary.verdict,
            provenance=summary.provenance,
            end=summary.end,
            actors=tuple(row.get("actors", ()))[: len(self)],
        )

    def summary(self, id: str) -> EpisodeSummary:
        """Return the episode without its frames, under the id that it has in a store."""
        taken_over = sum(actor != "policy" for actor in self.actors)
        return EpisodeSummary(
            id, self.instruction, len(self), self.verdict, self.provenance, self.contract,
            taken_over, self.end,
        )  # fmt: skip


def id_of(recording: Recording, data_set: str) -> str:
    """Return the id of an imported episode: its own, or one made of its start and its key.

    The same episode gets the same id at every import, so that an interrupted import goes on without duplicates.
    """
    if recording.id:
        return recording.id
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(recording.provenance.started_s))
    digest = hashlib.sha256(f"{data_set}\n{recording.key}".encode()).hexdigest()
    return f"{stamp}-{digest[:10]}"


def nominal_times(count: int, period_s: float) -> Float64[np.ndarray, " _count"]:
    """Return the times of observations at a fixed period [s], for sources without a clock."""
    return np.arange(count, dtype=np.float64) * period_s


def fitted(image: bytes, size: int | None, jpeg: bool = False) -> bytes:
    """Return an image file of `size` x `size` pixels; the same bytes if it is one already.

    Args:
        image: a JPEG or PNG file.
        size: height and width [px]; None keeps them.
        jpeg: whether it must be a JPEG file.
    """
    kept = not jpeg or is_jpeg(image)
    if kept and (size is None or image_size(image) == (size, size)):
        return image
    pixels = decode(image)
    return encode(pixels if size is None else resize(pixels, size))


def is_jpeg(image: bytes) -> bool:
    """Whether an image file is a JPEG."""
    return image[:3] == b"\xff\xd8\xff"


def goals_in_force(recording: Recording, rows: int) -> list[int | None]:
    """Return the index of the subgoal that the policy pursues at each step; None before the first."""
    found: list[int | None] = []
    steps = [step for step, _ in recording.subgoals]
    for row in range(rows):
        past = sum(step <= row for step in steps)
        found.append(past - 1 if past else None)
    return found


def actions_with_last(
    recording: Recording, actions: Float32[np.ndarray, "t action"], rows: int
) -> Float32[np.ndarray, "_rows action"]:
    """Return an episode's actions; for its last observation one that moves nothing and leaves the gripper as it is."""
    if rows == len(actions):
        return actions
    still = np.zeros((1, actions.shape[1]), np.float32)
    numbers = recording.contract.action
    if numbers.reference == "absolute":
        still[:] = actions[-1:]
    elif numbers.gripper_index is not None and len(actions):
        still[0, numbers.gripper_index] = actions[-1, numbers.gripper_index]
    return np.concatenate([actions, still])


def without_still_start(recording: Recording) -> Recording:
    """Return an episode without the actions at its start that move nothing, such as BridgeData's.

    An episode of absolute actions, or one that never moves, stays as it is.
    """
    numbers = recording.contract.action
    moved = np.flatnonzero(np.abs(recording.actions[:, : numbers.motion_dim]).max(axis=1) > 1e-6)
    if numbers.reference == "absolute" or not len(moved) or moved[0] == 0:
        return recording
    return from_step(recording, int(moved[0]))


def from_step(recording: Recording, first: int) -> Recording:
    """Return an episode from its step `first` on."""
    goals = {max(0, step - first): goal for step, goal in recording.subgoals}
    return replace(
        recording,
        cameras={name: images[first:] for name, images in recording.cameras.items()},
        actions=recording.actions[first:],
        commanded=recording.commanded[first:],
        states=recording.states[first:],
        times_s=recording.times_s[first:],
        subgoals=sorted(goals.items()),
        actors=recording.actors[first:],
    )


def with_still_start(recording: Recording) -> Recording:
    """Return an episode of delta actions with an action that moves nothing at its start, as in BridgeData."""
    still = recording.actions[:1].copy()
    still[:, : recording.contract.action.motion_dim] = 0
    times = recording.times_s
    return replace(
        recording,
        cameras={name: [images[0], *images] for name, images in recording.cameras.items()},
        actions=np.concatenate([still, recording.actions]),
        commanded=np.concatenate([still, recording.commanded]),
        states=np.concatenate([recording.states[:1], recording.states]),
        times_s=np.concatenate([times[:1] - recording.contract.period_s, times]),
        subgoals=[(step + 1, goal) for step, goal in recording.subgoals],
        actors=recording.actors and ("policy", *recording.actors),
    )


def black(height: int, width: int) -> bytes:
    """Return a black JPEG file, which stands for a missing image."""
    return encode(np.zeros((height, width, 3), np.uint8))


def is_black(image: bytes) -> bool:
    """Whether an image file shows nothing, as those that stand for a missing camera or goal."""
    pixels: Image = decode(image)
    return int(pixels.max()) <= 2


def subgoals_of(goals: Sequence[bytes], every: int | None = None) -> list[tuple[int, bytes]]:
    """Return the images that the policy pursued, each after its first step; black ones stand for none.

    Args:
        goals: the goal's image file at each step.
        every: steps after which it changes; None compares the files, which a video codec makes differ.
    """
    if every is None:
        starts = [i for i, goal in enumerate(goals) if not i or goal != goals[i - 1]]
    else:
        starts = list(range(0, len(goals), every))
    return [(i, goals[i]) for i in starts if not is_black(goals[i])]


def parse_date(text: str) -> float:
    """Return the Unix time of a date as `date` prints it, such as "Thu Mar 14 17:36:21 PDT 2024"; 0 if it is none."""
    hours = {"PDT": 7, "PST": 8, "EDT": 4, "EST": 5, "CDT": 5, "CST": 6, "UTC": 0, "GMT": 0}
    zone = re.search(r"\b(" + "|".join(hours) + r")\b", text)
    words = re.sub(r"\b(AM|PM|[A-Z]{3,4})\b", lambda m: m[0] if m[0] in ("AM", "PM") else "", text)
    plain = " ".join(words.split())
    for form in ("%a %b %d %H:%M:%S %Y", "%a %d %b %Y %I:%M:%S %p", "%a %b %d %I:%M:%S %p %Y"):
        try:
            seconds = calendar.timegm(time.strptime(plain, form))
        except ValueError:
            continue
        return float(seconds + 3600 * (hours[zone[0]] if zone else 0))
    return 0.0
