"""Stores of small episodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from soar.data.store.lance import LanceStore, open_store
from soar.types import Episode


@pytest.fixture
def new_store(tmp_path: Path) -> Callable[..., LanceStore]:
    def make(name: str = "store", *episodes: Episode) -> LanceStore:
        store = open_store(tmp_path / name, create=True)
        for episode in episodes:
            store.append(episode)
        return store

    return make
