"""Export of a store's episodes to a data set of another format."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from soar.contract.contract import Contract
from soar.exchange.lerobot.progress import write_progress
from soar.exchange.lerobot.writer import LeRobotOptions, LeRobotWriter
from soar.exchange.rlds.examples import Layout, check_contract
from soar.exchange.rlds.writer import RldsWriter
from soar.exchange.staging import Staging, check_space, exported_ids, staged
from soar.exchange.stores import one_contract, recordings
from soar.types import Query
from soar.utils.config import to_plain
from soar.utils.files import Json

if TYPE_CHECKING:
    from soar.data.store.lance import LanceStore

Target: TypeAlias = Literal["lerobot", "rlds"]


@dataclass(frozen=True)
class RldsOptions:
    """Content of an exported RLDS data set."""

    layout: Layout = "soar"
    """Features of soar_dataset or of bridge_dataset."""
    last_frame: bool = False
    """Add the last observation, with an action that moves nothing."""


class Counts(NamedTuple):
    """Numbers of episodes of an export."""

    exported: int
    """Written by this call."""
    there: int
    """Written by an earlier one."""
    changed: int
    """Among those, the ones whose verdict has changed since: the data set has the older one."""
    unknown: int
    """Left out because their outcome is unknown, which the data set has no place for."""


def export_episodes(
    store: LanceStore,
    query: Query,
    out: Path,
    options: LeRobotOptions | RldsOptions,
    *,
    progress: bool = False,
    on_episode: Callable[[str], None] = lambda id: None,
) -> Counts:
    """Write the episodes that match to a data set, or append those that an earlier export to it didn't have.

    The data set appears when it is complete. A killed export goes on where it stopped.

    Args:
        store: the store.
        query: filter of the episodes; those that are added while it works are left to the next export.
        out: the data set's folder.
        options: format and content.
        progress: also write LeRobot's file of every frame's progress.
        on_episode: called with the id of each written episode.

    Raises:
        ConfigError: nothing matches, the format can't hold the episodes, or `out` is something else.
        StoreError: an episode is damaged; what is written before stays for the next export.
        FileError: a file can't be written.
    """
    if query.version is None:
        query = replace(query, version=store.version)
    contract, _ = one_contract(store.query(query))
    if isinstance(options, RldsOptions):
        check_contract(contract)
    check_space(out, stored_bytes(store, query, exported_ids(out)))
    exported = unknown = 0
    with staged(out, _about(contract, options)) as staging:
        done = staging.done()
        new = recordings(store, store.query(query), lambda id: id in done)
        for id in _writer(staging, contract, options).write(new):
            exported, unknown = exported + (id is not None), unknown + (id is None)
            on_episode(id or "")
        if progress:
            write_progress(staging)
    outcomes = store.index.rows(("id", "outcome"), "").to_pylist()
    changed = sum(done.get(row["id"], row["outcome"]) != row["outcome"] for row in outcomes)
    return Counts(exported, len(done), changed, unknown)


def stored_bytes(store: LanceStore, query: Query, without: Set[str] = frozenset()) -> int:
    """Return the size of the episodes that match, except those with some ids [bytes]."""
    rows = store.rows(("id", "bytes"), query).to_pylist()
    return sum(row["bytes"] for row in rows if row["id"] not in without)


def _writer(
    staging: Staging, contract: Contract, options: LeRobotOptions | RldsOptions
) -> LeRobotWriter | RldsWriter:
    if isinstance(options, RldsOptions):
        return RldsWriter(staging, options.layout, options.last_frame)
    return LeRobotWriter(staging, contract, options)


def _about(contract: Contract, options: LeRobotOptions | RldsOptions) -> dict[str, Json]:
    to: Target = "rlds" if isinstance(options, RldsOptions) else "lerobot"
    return {
        "format": "soar-export",
        "version": 1,
        "to": to,
        "contract": to_plain(contract),
        "options": to_plain(options),
    }
