"""Data sets of other formats, as small examples that are damaged: LeRobot, RLDS, and the raw logs of two labs."""

from __future__ import annotations

import functools
import io
import json
import pickle
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from soar.data.store.lance import open_store
from soar.exchange.export import RldsOptions, export_episodes
from soar.exchange.formats import open_data_set
from soar.exchange.lerobot.writer import LeRobotOptions
from soar.exchange.stores import check_episodes
from soar.types import Query
from soar.utils.media import write_video

_STEPS = 6


def make(name: str, store: Path) -> Callable[[Path], None]:
    """Return a function that writes the example `name` into a folder. `store`: episodes of those that are exported."""

    def write(folder: Path) -> None:
        for path, data in _files(name, store).items():
            target = folder / "set" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    return write


def read(folder: Path) -> object:
    """Read an example as `soar data import` does."""
    return [problem for _, problem in check_episodes(open_data_set(folder / "set"))]


@functools.cache
def _files(name: str, store: Path) -> Mapping[str, bytes]:
    """Files of an example by their path in it; made once in a process."""
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there) / "set"
        _EXAMPLES[name](folder, store)
        found = sorted(p for p in folder.rglob("*") if p.is_file())
        return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def _lerobot(folder: Path, store: Path) -> None:
    opened = open_store(store, read_only=True)
    export_episodes(opened, Query(), folder, LeRobotOptions())


def _rlds(folder: Path, store: Path) -> None:
    opened = open_store(store, read_only=True)
    export_episodes(opened, Query(outcomes=("success", "failure")), folder, RldsOptions())


def _soar_logs(folder: Path, store: Path) -> None:
    """One trajectory as the logger of the paper's robots writes it."""
    rng = np.random.default_rng(0)
    path = folder / "2/scene_7/gcbc/2024-03-14/success/traj0"
    path.mkdir(parents=True)
    frames = list(rng.integers(0, 256, (_STEPS, 32, 32, 3), np.uint8))
    write_video(path / "trajectory.mp4", frames)
    write_video(path / "goals.mp4", frames)
    for name in ("actions", "eef_poses"):
        np.save(path / f"{name}.npy", rng.normal(size=(_STEPS, 7)))
    texts = {
        "language_task": "put the mushroom in the pot", "success": "True", "robot_id": "2",
        "time": "Thu Mar 14 17:36:21 PDT 2024", "task_list": json.dumps(["a"]),
    }  # fmt: skip
    for name, text in texts.items():
        (path / f"{name}.txt").write_text(text)


def _bridge_raw(folder: Path, store: Path) -> None:
    """One trajectory of raw BridgeData."""
    rng = np.random.default_rng(0)
    path = folder / "kitchen/wipe/00/2023-01-02_03-04-05/raw/traj_group0/traj3"
    (path / "images0").mkdir(parents=True)
    for step in range(_STEPS + 1):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(file, "JPEG")
        (path / f"images0/im_{step}.jpg").write_bytes(file.getvalue())
    times = list(1.65e9 + 0.2 * np.arange(_STEPS + 1))
    observations = {"full_state": rng.normal(size=(_STEPS + 1, 7)), "time_stamp": times}
    (path / "obs_dict.pkl").write_bytes(pickle.dumps(observations))
    actions = [{"actions": rng.normal(size=7)} for _ in range(_STEPS)]
    (path / "policy_out.pkl").write_bytes(pickle.dumps(actions))
    (path / "lang.txt").write_text("wipe the table\nconfidence: 0.40\n")


_EXAMPLES: Mapping[str, Callable[[Path, Path], None]] = {
    "lerobot": _lerobot, "rlds": _rlds, "soar-logs": _soar_logs, "bridge-raw": _bridge_raw,
}  # fmt: skip
