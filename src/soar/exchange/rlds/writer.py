"""Export to RLDS: shards of examples, then `features.json` and `dataset_info.json`.

One episode is in memory at a time. A shard ends before it would exceed its size. Its final name contains the
number of all shards, which is known only at the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from soar.data.store.rows import to_row
from soar.exchange.recording import Recording
from soar.exchange.rlds.example import encode_example
from soar.exchange.rlds.examples import Layout, split_of, to_example
from soar.exchange.rlds.features import BRIDGE, SOAR, to_json
from soar.exchange.rlds.tfrecord import record_size, write_record
from soar.exchange.staging import Staging
from soar.utils.files import Json, write_json, writing

SHARD_BYTES = 256 * 2**20
"""Largest size of a shard, unless it holds a single episode."""
NAMES: Mapping[Layout, str] = {"soar": "soar_dataset", "bridge": "bridge_dataset"}
VERSION = "1.0.0"
_DESCRIPTION = "Episodes of robots, each with its language instruction, exported by soar."


class _Shard:
    """A shard that is being written."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.size = 0
        self.rows: list[dict[str, Json]] = []


class RldsWriter:
    """Writes episodes into the shards of a staged data set."""

    def __init__(
        self, staging: Staging, layout: Layout, last_frame: bool, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self.layout, self.last_frame, self.shard_bytes = layout, last_frame, shard_bytes
        self._staging = staging
        self._folder = staging.path / NAMES[layout] / VERSION
        self._open: dict[str, _Shard] = {}

    def write(self, recordings: Iterable[Recording]) -> Iterator[str | None]:
        """Write episodes; yields the id of each, or None for one that the data set can't hold.

        Raises:
            FileError: a file can't be written.
        """
        with writing(self._folder), self._closing():
            self._prepare()
            for recording in recordings:
                split = split_of(recording, self.layout)
                if split is None:
                    yield None
                    continue
                example = to_example(recording, self.layout, self.last_frame)
                self._append(split, encode_example(example), recording)
                yield recording.id
            for split in sorted(self._open):
                self._close(split)
            self._finish()

    def _prepare(self) -> None:
        """Name finished shards as if they were still growing, and remove unfinished ones."""
        self._folder.mkdir(parents=True, exist_ok=True)
        finished = set(self._staging.files())
        for path in sorted(self._folder.glob("*.tfrecord-*")):
            name = path.name.split("-of-")[0]
            if name in finished:
                path.rename(self._folder / name)
            else:
                path.unlink()

    @contextmanager
    def _closing(self) -> Iterator[None]:
        try:
            yield
        finally:
            for shard in self._open.values():
                shard.file.close()
            self._open.clear()

    def _append(self, split: str, data: bytes, recording: Recording) -> None:
        shard = self._open.get(split)
        if shard and shard.size + record_size(data) > self.shard_bytes:
            self._close(split)
            shard = None
        if shard is None:
            shard = self._start(split)
        shard.size += write_record(shard.file, data)
        about = {"bytes": len(data), "still_start": self.layout == "bridge"}
        actors = {"actors": recording.actors} if recording.actors else {}
        shard.rows.append(to_row(recording.summary(recording.id)) | about | actors)

    def _start(self, split: str) -> _Shard:
        prefix = f"{NAMES[self.layout]}-{split}.tfrecord-"
        number = sum(name.startswith(prefix) for name in self._staging.files())
        path = self._folder / f"{prefix}{number:05d}"
        self._open[split] = shard = _Shard(path, path.open("wb"))
        return shard

    def _close(self, split: str) -> None:
        shard = self._open.pop(split)
        shard.file.close()
        self._staging.close(shard.path.name, shard.rows, shard.path, self._folder)

    def _finish(self) -> None:
        """Give the shards their final names, and write the files that describe them."""
        splits: dict[str, list[str]] = defaultdict(list)
        for name in self._staging.files():
            splits[name.split(".tfrecord-")[0].split("-", 1)[1]].append(name)
        described = []
        for split, names in splits.items():
            sizes = [[r["bytes"] for r in self._staging.file_rows(name)] for name in names]
            described.append(
                {
                    "name": split,
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                    "numBytes": str(sum(map(sum, sizes))),
                    "shardLengths": [str(len(part)) for part in sizes],
                }
            )
            for name in names:
                final = f"{name}-of-{len(names):05d}"
                (self._folder / name).rename(self._folder / final)
        features = SOAR if self.layout == "soar" else BRIDGE
        write_json(self._folder / "features.json", to_json(features))
        write_json(self._folder / "dataset_info.json", self._info(described))

    def _info(self, splits: list[dict[str, Json]]) -> Json:
        name = NAMES[self.layout]
        return {
            "citation": "",
            "description": _DESCRIPTION,
            "fileFormat": "tfrecord",
            "moduleName": f"{name}.{name}_dataset_builder",
            "name": name,
            "releaseNotes": {VERSION: "Initial release."},
            "splits": splits,
            "version": VERSION,
        }
