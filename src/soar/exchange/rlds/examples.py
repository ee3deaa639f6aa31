"""Conversion of episodes to the examples of `soar_dataset` and `bridge_dataset`.

Both hold T observations for T actions: the observation after the last action, which the success detector judged, has
no place. With `last_frame` it is one more step, whose action moves nothing. An episode of `bridge_dataset` begins with
such a step, which readers of BridgeData drop.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from soar.contract.compare import differences
from soar.contract.contract import WIDOWX, Contract
from soar.errors import ConfigError
from soar.exchange.recording import (
    Recording,
    actions_with_last,
    black,
    fitted,
    goals_in_force,
    with_still_start,
)
from soar.exchange.rlds.example import Feature
from soar.exchange.rlds.features import BRIDGE_CAMERAS

Layout: TypeAlias = Literal["soar", "bridge"]
SIZE = 256
"""Height and width of both data sets' images [px]."""


def split_of(recording: Recording, layout: Layout) -> str | None:
    """Return the split that an episode belongs to; None for one that the data set can't hold.

    `soar_dataset` has a split of successes and one of failures, so an unknown outcome has no place in it.
    """
    if layout == "bridge":
        return "train"
    outcome = recording.verdict.outcome
    return None if outcome == "unknown" else outcome


def check_contract(contract: Contract) -> None:
    """Raise ConfigError for an arm that neither data set can hold: their numbers are those of the WidowX.

    Their readers know neither how deltas rotate, nor what they are relative to, nor the period.
    """
    if (contract.action.dim, contract.state.dim, contract.action.space) != (7, 7, "end_effector"):
        raise ConfigError(
            f"an arm with actions {', '.join(contract.action.names)} doesn't fit soar_dataset or bridge_dataset, "
            "which hold x, y, z, roll, pitch, yaw, gripper; export to lerobot"
        )
    for found in differences(contract, replace(WIDOWX, cameras=contract.cameras)):
        if not found.is_warning and found.field not in ("action.turn", "action.delta_from"):
            raise ConfigError(
                f"{found.field} is {found.left} in the store and {found.right} in soar_dataset and bridge_dataset; "
                "export to lerobot, or import it again with --convert"
            )


def to_example(recording: Recording, layout: Layout, last_frame: bool) -> dict[str, Feature]:
    """Return an episode as the named lists of a `tf.train.Example`.

    Images that aren't JPEG files of 256 x 256 pixels become such; others are copied.
    """
    if layout == "bridge":
        recording = with_still_start(recording)
    rows = len(recording) + last_frame
    first, last = np.arange(rows) == 0, np.arange(rows) == rows - 1
    primary = next(iter(recording.cameras.values()))
    features: dict[str, Feature] = {
        "steps/observation/image_0": [fitted(image, SIZE, jpeg=True) for image in primary[:rows]],
        "steps/observation/state": recording.states[:rows].ravel(),
        "steps/action": actions_with_last(recording, recording.actions, rows).ravel(),
        "steps/is_first": first.astype(np.int64),
        "steps/is_last": last.astype(np.int64),
        "steps/language_instruction": [recording.instruction.encode()] * rows,
        "episode_metadata/file_path": [(recording.id or recording.key).encode()],
        "episode_metadata/has_language": np.array([bool(recording.instruction)], np.int64),
    }
    extra = _soar(recording, rows) if layout == "soar" else _bridge(recording, rows, last)
    return features | extra


def _soar(recording: Recording, rows: int) -> dict[str, Feature]:
    goals = [fitted(image, SIZE, jpeg=True) for _, image in recording.subgoals]
    none = black(SIZE, SIZE)
    origin = recording.provenance
    proposal = origin.proposal
    tasks = list(proposal.feasible) if proposal and proposal.feasible else [recording.instruction]
    objects = list(proposal.task.objects) if proposal else []
    started = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(origin.started_s))
    return {
        "steps/goal": [none if k is None else goals[k] for k in goals_in_force(recording, rows)],
        "episode_metadata/task_list": [json.dumps(tasks).encode()],
        "episode_metadata/object_list": [json.dumps(objects).encode()],
        "episode_metadata/time": [started.encode()],
        "episode_metadata/robot_id": [origin.station.encode()],
        "episode_metadata/success": np.array([recording.verdict.outcome == "success"], np.int64),
    }


def _bridge(
    recording: Recording, rows: int, last: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> dict[str, Feature]:
    cameras = list(recording.cameras.values())
    succeeded = recording.verdict.outcome == "success"
    features: dict[str, Feature] = {
        "steps/is_terminal": (last & (recording.end == "terminated" or succeeded)).astype(np.int64),
        "steps/discount": np.ones(rows, np.float32),
        "steps/reward": (last & succeeded).astype(np.float32),
        "episode_metadata/episode_id": np.zeros(1, np.int64),
    }
    none = black(SIZE, SIZE)
    for k, name in enumerate(BRIDGE_CAMERAS):
        features[f"episode_metadata/has_{name}"] = np.array([k < len(cameras)], np.int64)
        if k == 0:
            continue
        images = cameras[k][:rows] if k < len(cameras) else [none] * rows
        features[f"steps/observation/{name}"] = [fitted(i, SIZE, jpeg=True) for i in images]
    return features
