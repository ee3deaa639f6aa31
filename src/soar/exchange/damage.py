"""Foreign data sets behind one boundary: any error that their files cause becomes one line that names them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from soar.errors import ConfigError, SoarError, text_of
from soar.exchange.recording import Recording
from soar.exchange.stores import Reader


class CheckedReader:
    """A reader whose every exception is a ConfigError."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.contract = reader.contract
        self._reader, self._folder = reader, folder

    @property
    def name(self) -> str:
        """Name of the data set."""
        with damage_named(self._folder):
            return self._reader.name

    def __len__(self) -> int:
        """Number of episodes. Raises ConfigError."""
        with damage_named(self._folder):
            return len(self._reader)

    def read(self) -> Iterator[Recording]:
        """Yield the episodes in order. Raises ConfigError: a file is damaged."""
        episodes = self._reader.read()
        while True:
            with damage_named(self._folder):
                found = next(episodes, None)
            if found is None:
                return
            yield found


@contextmanager
def damage_named(folder: Path) -> Iterator[None]:
    """Turn any error that a data set's files cause into a ConfigError that names it."""
    try:
        yield
    except SoarError:
        raise
    except Exception as error:  # readers of Parquet, video, pickles and numbers raise many types
        what = f"{type(error).__name__}: {text_of(error):.200}"
        raise ConfigError(f"{folder} is damaged, or another kind of data set ({what})") from error


def check_regular(folder: Path) -> None:
    """Raise ConfigError if a pipe or a device is among a data set's files: reading one would wait forever."""
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            if not os.path.isfile(path):
                raise ConfigError(f"{path} is no regular file")
