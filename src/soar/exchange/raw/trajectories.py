"""Readers of folders with one subfolder for each trajectory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from soar.contract.contract import WIDOWX
from soar.exchange.recording import Recording
from soar.utils.hub import folder_name


class TrajectoryReader(ABC):
    """Reader of all trajectories below a folder, which are the folders that hold a certain file."""

    contract = WIDOWX

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder = folder
        self._paths = sorted(path.parent for path in folder.rglob(mark))

    @property
    def name(self) -> str:
        """Name of the data set: that of its folder."""
        return folder_name(self.folder)

    def __len__(self) -> int:
        """Number of trajectories."""
        return len(self._paths)

    def read(self) -> Iterator[Recording]:
        """Yield the trajectories by path. Raises ConfigError: a file is missing or damaged."""
        for path in self._paths:
            yield self.recording(path)

    @abstractmethod
    def recording(self, path: Path) -> Recording:
        """Read a trajectory's folder. Raises ConfigError."""
