"""Episodes between stores and other formats, without decoding an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from soar.contract.contract import Contract
from soar.data.store.content import check_id, numbers
from soar.data.store.disk import adding
from soar.data.store.images import decode
from soar.data.store.rows import to_row
from soar.data.store.steps import camera_columns, encoded_table, read_table, table_numbers
from soar.errors import ConfigError, ContentError, StoreError
from soar.exchange.recording import Recording, id_of, without_still_start
from soar.types import EpisodeSummary, Outcome, Verdict

if TYPE_CHECKING:
    from soar.data.store.lance import LanceStore


@runtime_checkable
class Reader(Protocol):
    """A data set of another format."""

    contract: Contract

    @property
    def name(self) -> str:
        """Name of the data set."""

    def __len__(self) -> int:
        """Number of episodes."""

    def read(self) -> Iterator[Recording]:
        """Yield the episodes in order. Raises ConfigError: a file is damaged."""


def recordings(
    store: LanceStore, summaries: Iterable[EpisodeSummary], skip: Callable[[str], bool]
) -> Iterator[Recording]:
    """Yield a store's episodes with their image files as they are; those whose id is to be skipped are not read.

    Raises:
        StoreError: an episode's file is missing or damaged.
    """
    for summary in summaries:
        if not skip(summary.id):
            yield recording_of(store, summary)


def recording_of(store: LanceStore, summary: EpisodeSummary) -> Recording:
    """Return an episode of a store with its image files as they are. Raises StoreError."""
    table = read_table(store.steps_path(summary.id))
    actions, commanded, states, times_s = table_numbers(table)
    if len(actions) != summary.length:
        raise StoreError(f"episode '{summary.id}' has {len(actions)} steps of {summary.length}")
    columns = [table[name].to_pylist() for name in camera_columns(table)]
    names = [summary.contract.camera_names[0]]
    names += [name.removeprefix("camera_") for name in camera_columns(table)[1:]]
    goals = table["subgoal"].to_pylist()
    actors = table["actor"].to_pylist()[:-1] if "actor" in table.column_names else []
    return Recording(
        key=summary.id,
        id=summary.id,
        instruction=summary.instruction,
        cameras=dict(zip(names, columns, strict=True)),
        actions=actions,
        commanded=commanded,
        states=states,
        times_s=times_s,
        verdict=summary.verdict,
        provenance=summary.provenance,
        contract=summary.contract,
        subgoals=[(step, goal) for step, goal in enumerate(goals) if goal is not None],
        actors=tuple(actors),
        end=summary.end,
    )


def import_episodes(
    reader: Reader,
    store: LanceStore,
    outcome: Outcome | None = None,
    drop_still_start: bool = False,
) -> Iterator[tuple[Recording, str]]:
    """Store the episodes of a data set; those that the store already has are skipped.

    Args:
        reader: the data set.
        store: opened for writing.
        outcome: verdict of the episodes about whose success the data set says nothing, such as demonstrations.
        drop_still_start: leave out the first steps that move nothing.

    Yields:
        Each episode, and "" or why it isn't stored: "there already", or what the store can't hold.

    Raises:
        StoreError: an episode isn't stored, or another process imports or copies into the store.
    """
    with adding(store.path, alone=True):
        yield from _import(reader, store, outcome, drop_still_start)


def _import(
    reader: Reader, store: LanceStore, outcome: Outcome | None, drop_still_start: bool
) -> Iterator[tuple[Recording, str]]:
    known = store.index.ids()
    for found in reader.read():
        recording = without_still_start(found) if drop_still_start else found
        if outcome is not None and found.verdict.outcome == "unknown" and not found.verdict.judge:
            recording = replace(recording, verdict=Verdict(outcome, judge="import"))
        id = check_id(id_of(recording, reader.name))
        if id in known:
            yield recording, "there already"
            continue
        try:
            stored = append_recording(store, recording, id)
        except ContentError as error:
            yield recording, str(error)
            continue
        known.add(id)
        yield recording, "" if stored else "there already"


def check_episodes(reader: Reader) -> Iterator[tuple[Recording, str]]:
    """Check the episodes of a data set as `import_episodes` does, without storing them."""
    for recording in reader.read():
        try:
            check_recording(recording)
        except ContentError as error:
            yield recording, str(error)
            continue
        yield recording, ""


def append_recording(store: LanceStore, recording: Recording, id: str) -> bool:
    """Store an episode with its image files as they are, and return whether its id wasn't there already.

    Raises:
        ContentError: the store can't hold it, or an image can't be decoded.
        StoreError: it isn't stored.
    """
    check_recording(recording)
    table = encoded_table(
        list(recording.cameras.values()),
        list(recording.cameras)[1:],
        dict(recording.subgoals),
        recording.actions,
        recording.commanded,
        recording.states,
        recording.times_s,
        recording.actors,
    )
    return store.append_table(to_row(recording.summary(id)), table)


def check_recording(recording: Recording) -> None:
    """Raise ContentError for an episode that couldn't be read back, or that no one could learn from.

    Only the first and the last image of each camera are decoded.
    """
    contract, rows = recording.contract, len(recording) + 1
    widths = recording.actions.shape[1], recording.states.shape[1]
    if widths != (contract.action.dim, contract.state.dim):
        raise ContentError(f"its actions and states have {widths} numbers, unlike its contract")
    if tuple(recording.cameras) != contract.camera_names:
        raise ContentError(f"its cameras are {list(recording.cameras)}, unlike its contract")
    counts = {name: len(images) for name, images in recording.cameras.items()}
    if not len(recording) or set(counts.values()) | {len(recording.states)} != {rows}:
        raise ContentError(f"{rows - 1} steps need {rows} observations; images: {counts}")
    if problem := numbers(
        recording.actions, recording.commanded, recording.states, recording.times_s
    ):
        raise ContentError(problem)
    for name, images in recording.cameras.items():
        try:
            sizes = {decode(images[i]).shape for i in (0, -1)}
        except StoreError as error:
            raise ContentError(f"camera {name}: {error}") from error
        if len(sizes) > 1:
            raise ContentError(f"images of camera {name} differ in size")


def one_contract(summaries: Iterable[EpisodeSummary]) -> tuple[Contract, dict[str, Any]]:
    """Return the contract that all episodes share, and facts about them.

    Raises:
        ConfigError: there is no episode, or there are two contracts, which one data set can't hold.
    """
    first: EpisodeSummary | None = None
    facts: dict[str, Any] = {"episodes": 0, "steps": 0, "interventions": 0, "subgoals": False}
    for summary in summaries:
        first = first or summary
        if summary.contract != first.contract:
            raise ConfigError(
                f"episodes {first.id} and {summary.id} have different contracts, and a data set has one; "
                "choose some by --stations"
            )
        facts["episodes"] += 1
        facts["steps"] += summary.length
        facts["interventions"] += summary.interventions
    if first is None:
        raise ConfigError("no episode matches")
    return first.contract, facts
