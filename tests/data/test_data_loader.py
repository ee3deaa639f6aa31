"""A lab's own PyTorch data loader over a store, in workers of each kind."""

from __future__ import annotations

import multiprocessing as mp
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from soar.data.store.lance import LanceStore
from soar.errors import StoreError


class Frames(Dataset[Any]):
    """All steps of a store: a frame, and the action executed there."""

    def __init__(self, store: LanceStore) -> None:
        self.store = store
        self.steps = [(e.id, i) for e in store.query() for i in range(e.length)]

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        id, step = self.steps[index]
        image = torch.from_numpy(self.store.images(id, [step])[0])
        return image, torch.from_numpy(self.store.load(id).actions[step])


def test_spawned_workers_read_a_store(store: LanceStore, make_episode: Any) -> None:
    store.append(make_episode())
    frames = Frames(store)
    loader = DataLoader(frames, 4, num_workers=1, multiprocessing_context="spawn")
    assert sum(len(actions) for _, actions in loader) == len(frames)


@pytest.mark.filterwarnings("ignore:lance is not fork-safe", "ignore:.*multi-threaded.*fork")
def test_a_forked_worker_is_told_what_is_valid(store: LanceStore, make_episode: Any) -> None:
    store.append(make_episode())
    frames = Frames(store)
    here, there = mp.Pipe()

    def work() -> None:
        try:
            there.send(frames[0])
        except StoreError as error:
            there.send(str(error))

    process = mp.get_context("fork").Process(target=work)
    process.start()
    assert "valid: processes that are spawned" in here.recv()
    process.join()
