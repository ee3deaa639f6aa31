"""Import from RLDS: any data set of TensorFlow Datasets with images, states and actions of a known meaning.

Both Berkeley sets hold T observations for T actions. The last action has no observation after it, so T - 1 control
steps are read, as the paper's own loader does; a set that soar wrote with its last frames gives all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from soar.contract.contract import WIDOWX, Camera, Contract
from soar.data.store.rows import from_row
from soar.errors import ConfigError
from soar.exchange.recording import (
    STEPS_PER_SUBGOAL,
    Recording,
    from_step,
    is_black,
    nominal_times,
    parse_date,
    stated_contract,
    subgoals_of,
)
from soar.exchange.rlds.example import Feature, decode_example
from soar.exchange.rlds.features import Features, from_json
from soar.exchange.rlds.tfrecord import read_records
from soar.exchange.staging import FOLDER
from soar.types import Provenance, Verdict
from soar.utils.files import Json, read_json, read_lines
from soar.utils.hub import hub_origin

_WIDOWX_SETS = ("soar_dataset", "bridge_dataset", "bridge_orig", "bridge")
"""Data sets whose actions and states are the WidowX's."""


def find_data_set(folder: Path) -> Path | None:
    """Return the folder of the one TFDS data set in or below a folder, at most two levels down; None if there is none.

    Raises:
        ConfigError: there are several.
    """
    patterns = ("features.json", "*/features.json", "*/*/features.json")
    found = [path.parent for pattern in patterns for path in folder.glob(pattern)]
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found[:4])
        raise ConfigError(f"{folder} holds several data sets: {names}; name one of them")
    return found[0] if found else None


class RldsReader:
    """Reads the episodes of a TFDS data set."""

    def __init__(self, folder: Path, contract: Contract | None = None) -> None:
        root = find_data_set(folder)
        if root is None:
            raise ConfigError(f"{folder} holds no features.json of a TFDS data set")
        self.folder = root
        self._info: dict[str, Json] = read_json(root / "dataset_info.json")
        self._features = from_json(read_json(root / "features.json"))
        self._sidecar = root.parent.parent / FOLDER
        about = self._sidecar / "about.json"
        self._about: dict[str, Json] = read_json(about) if about.exists() else {}
        self._cameras = _cameras(self._features, root)
        self.contract = self._contract(contract)

    @property
    def name(self) -> str:
        """Name of the data set."""
        return str(self._info.get("name", self.folder.parent.name))

    def __len__(self) -> int:
        """Number of episodes."""
        return sum(count for _, _, count in self._shards())

    def read(self) -> Iterator[Recording]:
        """Yield the episodes in order; one is in memory at a time.

        Raises:
            ConfigError: a file is damaged or incomplete, or an episode has no images.
        """
        for split, path, count in self._shards():
            rows = self._rows(path)
            found = 0
            for data in read_records(path):
                key = f"{split}/{path.name.split('-')[-3]}/{found}"
                row = rows[found] if found < len(rows) else None
                yield self._recording(key, split, decode_example(data), row)
                found += 1
            if found < count:
                raise ConfigError(f"{path} holds {found} episodes, {count} by dataset_info.json")

    def _shards(self) -> list[tuple[str, Path, int]]:
        """Return split, path and number of episodes of each file. Raises ConfigError: one is missing."""
        found = []
        for split in self._info.get("splits", ()):
            lengths = [int(n) for n in split.get("shardLengths", ())]
            for number, length in enumerate(lengths):
                stem = f"{self.name}-{split['name']}.tfrecord"
                path = self.folder / f"{stem}-{number:05d}-of-{len(lengths):05d}"
                if not path.exists():
                    raise ConfigError(f"{path} is missing; fetch it again")
                found.append((str(split["name"]), path, length))
        return found

    def _rows(self, path: Path) -> list[dict[str, Json]]:
        """Return what soar noted beside a shard that it wrote."""
        return read_lines(self._sidecar / f"{path.name.split('-of-')[0]}.jsonl")

    def _contract(self, given: Contract | None) -> Contract:
        if found := stated_contract(self._about, given, self.folder) or given:
            return found
        if self.name not in _WIDOWX_SETS:
            raise ConfigError(
                f"what the numbers of {self.name} mean isn't known; give its contract with --contract FILE"
            )
        return WIDOWX

    def _recording(
        self, key: str, split: str, example: Mapping[str, Feature], row: dict[str, Json] | None
    ) -> Recording:
        actions = self._matrix(example, "steps/action", self.contract.action.dim, key)
        states = self._matrix(example, "steps/observation/state", self.contract.state.dim, key)
        cameras = self._images(example, len(actions), key)
        if len(states) != len(actions) or len(actions) < 2:
            raise ConfigError(
                f"{self.name} {key} has {len(actions)} actions and {len(states)} states; "
                "valid: as many, at least 2"
            )
        text = _texts(example, "steps/language_instruction")
        contract = self._with_cameras(cameras)
        goals = _bytes(example, "steps/goal")
        recording = Recording(
            key=key,
            instruction=text[0] if text else "",
            cameras=cameras,
            states=states,
            actions=actions[:-1],
            commanded=actions[:-1],
            times_s=nominal_times(len(states), contract.period_s),
            verdict=self._verdict(example),
            provenance=self._provenance(example, split),
            contract=contract,
            subgoals=subgoals_of(goals, None if self._about else STEPS_PER_SUBGOAL),
            end="terminated" if any(_ints(example, "steps/is_terminal")) else "truncated",
        )
        if not row:
            return recording
        if row.get("still_start"):
            recording = replace(from_step(recording, 1), times_s=recording.times_s[:-1])
        return self._named(recording.restored(row), from_row(row).contract)

    def _named(self, recording: Recording, contract: Contract) -> Recording:
        """Return an episode that soar exported with its contract and its cameras' names, as far as there are images."""
        pairs = zip(self._cameras, contract.cameras, strict=False)
        cameras = {name: camera for name, camera in pairs if name in recording.cameras}
        return replace(
            recording,
            cameras={camera.name: recording.cameras[name] for name, camera in cameras.items()},
            contract=replace(contract, cameras=tuple(cameras.values())),
        )

    def _matrix(
        self, example: Mapping[str, Feature], name: str, width: int, key: str
    ) -> Float32[np.ndarray, "_rows _width"]:
        values = example.get(name)
        declared = self._features.get(name)
        if declared is None or declared.shape != (width,):
            shape = "missing" if declared is None else f"of shape {declared.shape}"
            raise ConfigError(
                f"{name} of {self.name} is {shape}; its contract has {width} numbers: "
                "give another with --contract FILE"
            )
        if not isinstance(values, np.ndarray) or len(values) % width:
            raise ConfigError(f"{name} of {self.name} {key} holds no vectors of {width} numbers")
        return values.astype(np.float32).reshape(-1, width)

    def _images(
        self, example: Mapping[str, Feature], rows: int, key: str
    ) -> dict[str, Sequence[bytes]]:
        """Return the images of each camera that there is: absent ones are black."""
        found: dict[str, Sequence[bytes]] = {}
        for index, (name, path) in enumerate(self._cameras.items()):
            images = _bytes(example, path)
            if index and (len(images) != rows or is_black(images[0])):
                continue
            if len(images) != rows:
                raise ConfigError(f"{self.name} {key} has {len(images)} images, {rows} actions")
            found[name] = images
        return found

    def _with_cameras(self, cameras: Mapping[str, Sequence[bytes]]) -> Contract:
        """Return the contract with the cameras that an episode has."""
        if tuple(cameras) == self.contract.camera_names:
            return self.contract
        known = {camera.name: camera for camera in self.contract.cameras}
        chosen = tuple(known.get(name, Camera(name)) for name in cameras)
        return replace(self.contract, cameras=chosen)

    def _verdict(self, example: Mapping[str, Feature]) -> Verdict:
        success = _ints(example, "episode_metadata/success")
        if not success:
            return Verdict("unknown")
        return Verdict("success" if success[0] else "failure", judge=self.name)

    def _provenance(self, example: Mapping[str, Feature], split: str) -> Provenance:
        station = _texts(example, "episode_metadata/robot_id") or [self.name]
        started = _texts(example, "episode_metadata/time") or [""]
        return Provenance(
            station=station[0] or self.name,
            regime="real",
            scene=split,
            seed=0,
            started_s=parse_date(started[0]),
            code_version=f"{hub_origin(self.folder) or self.name} {self._info.get('version', '')}".strip(),
        )


def _cameras(features: Features, folder: Path) -> dict[str, str]:
    """Return the paths of the images by the cameras' names, the primary one first."""
    prefix = "steps/observation/"
    paths = sorted(p for p, f in features.items() if f.kind == "image" and p.startswith(prefix))
    if not paths:
        raise ConfigError(f"{folder} holds no color images below {prefix}")
    names = ["primary", *(re.sub(r"\W", "_", path.removeprefix(prefix)) for path in paths[1:])]
    return dict(zip(names, paths, strict=True))


def _bytes(example: Mapping[str, Feature], name: str) -> Sequence[bytes]:
    value: Any = example.get(name, ())
    return () if isinstance(value, np.ndarray) else value


def _texts(example: Mapping[str, Feature], name: str) -> list[str]:
    return [text.decode(errors="replace") for text in _bytes(example, name)]


def _ints(example: Mapping[str, Feature], name: str) -> list[int]:
    value: Any = example.get(name, ())
    return [int(n) for n in value] if isinstance(value, np.ndarray) else []
