"""Imports that run at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from exchange_parts import make_episode

from soar.contract.contract import WIDOWX, Contract
from soar.data.curation.copying import copy_episodes
from soar.data.store.lance import LanceStore, open_store
from soar.data.store.verify import verify
from soar.errors import StoreError
from soar.exchange.recording import Recording
from soar.exchange.stores import import_episodes, recording_of
from soar.types import Verdict


class Undecided:
    """A data set that says nothing about success: the episodes of a store."""

    name = "undecided"
    contract: Contract = WIDOWX

    def __init__(self, store: LanceStore) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(list(self._store.query()))

    def read(self) -> Iterator[Recording]:
        for summary in self._store.query():
            yield replace(recording_of(self._store, summary), verdict=Verdict("unknown"))


def test_two_imports_at_once_are_one_import_with_one_outcome(new_store):
    source = new_store("source", *(make_episode(i) for i in range(3)))
    target, reader = new_store("target"), Undecided(source)
    first = import_episodes(reader, target, "success")
    assert next(first)[1] == ""
    again = open_store(target.path)
    for second in (
        import_episodes(reader, again, "failure"),
        copy_episodes(source, [s.id for s in source.query()], again),
    ):
        with pytest.raises(StoreError, match="another command imports or copies episodes into"):
            next(second)
    assert [problem for _, problem in first] == ["", ""]
    assert [s.verdict.outcome for s in target.query()] == ["success"] * 3
    later = [problem for _, problem in import_episodes(reader, again, "failure")]
    assert later == ["there already"] * 3
    assert not [found for found in verify(target) if found.problem]


def test_an_import_waits_for_no_new_episode_and_none_for_it(new_store):
    source = new_store("source", make_episode(0))
    target = new_store("target")
    for _, problem in import_episodes(Undecided(source), target):
        assert problem == ""
        open_store(target.path).append(make_episode(1))
    assert len(list(target.query())) == 2
