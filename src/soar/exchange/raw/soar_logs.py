"""Logs of the paper's robots, as SOAR's `data_collection` writes them.

    .../<robot>/<scene>/<policy>/<date>/<success or failure>/traj<n>/
        trajectory.mp4, goals.mp4              T images of the camera and of the goal
        actions.npy, eef_poses.npy             T actions and states, before each action
        language_task.txt, success.txt, time.txt, robot_id.txt

There is no observation after the last action, so T - 1 control steps are read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from soar.contract.contract import WIDOWX
from soar.data.store.images import encode
from soar.errors import ConfigError
from soar.exchange.raw.trajectories import TrajectoryReader
from soar.exchange.recording import (
    STEPS_PER_SUBGOAL,
    Recording,
    nominal_times,
    parse_date,
    subgoals_of,
)
from soar.types import Provenance, Verdict
from soar.utils.files import read_text

MARK = "trajectory.mp4"
"""File that every trajectory has."""


class SoarLogReader(TrajectoryReader):
    """Reads all trajectories below a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MARK)

    def recording(self, path: Path) -> Recording:
        """See `TrajectoryReader.recording`."""
        actions, states = _vectors(path / "actions.npy"), _vectors(path / "eef_poses.npy")
        images = _frames(path / MARK)
        if not len(actions) == len(states) == len(images) >= 2:
            raise ConfigError(
                f"{path} has {len(actions)} actions, {len(states)} poses and {len(images)} images; "
                "valid: as many, at least 2"
            )
        goals = path / "goals.mp4"
        pursued = _frames(goals)[: len(images)] if goals.exists() else []
        place = path.relative_to(self.folder).parts
        robot = _line(path / "robot_id.txt")
        return Recording(
            key="/".join(place),
            instruction=_line(path / "language_task.txt"),
            cameras={"primary": images},
            actions=actions[:-1],
            commanded=actions[:-1],
            states=states,
            times_s=nominal_times(len(states), WIDOWX.period_s),
            verdict=_verdict(_line(path / "success.txt"), self.name),
            provenance=Provenance(
                station=f"robot_{robot}" if robot.isdigit() else robot or self.name,
                regime="real",
                scene=place[-5] if len(place) >= 5 else "",
                seed=0,
                started_s=parse_date(_line(path / "time.txt")),
                checkpoint=place[-4] if len(place) >= 5 else "",
                code_version="SOAR logs",
            ),
            subgoals=subgoals_of(pursued, STEPS_PER_SUBGOAL),
        )


def _verdict(text: str, judge: str) -> Verdict:
    outcomes = {"True": "success", "False": "failure"}
    if text not in outcomes:
        return Verdict("unknown")
    return Verdict("success" if text == "True" else "failure", raw=text, judge=judge)


def _line(path: Path) -> str:
    """Return the first line of a text file; "" if there is none."""
    return (read_text(path).splitlines() or [""])[0].strip() if path.exists() else ""


def _vectors(path: Path) -> Float32[np.ndarray, "_rows 7"]:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"{path} can't be read: {str(error).splitlines()[0][:120]}") from error
    if values.ndim != 2 or values.shape[1] != 7 or values.dtype.kind not in "fiu":
        raise ConfigError(
            f"{path} holds {values.dtype} of shape {values.shape}; valid: rows of 7 numbers"
        )
    vectors: Float32[np.ndarray, "_rows 7"] = values.astype(np.float32)
    return vectors


def _frames(path: Path) -> list[bytes]:
    """Return a video's images as JPEG files."""
    import av

    try:
        with av.open(str(path)) as container:
            return [encode(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error
