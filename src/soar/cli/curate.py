"""`soar data`: merge, split, filter, quality and card, for a data set's keeper. Nothing here deletes an episode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Ge, Gt, Le, Lt

from soar.cli.data import open_readable, print_refused
from soar.cli.options import FLAT
from soar.errors import ConfigError
from soar.types import EpisodeSummary, Query
from soar.utils.files import public_name
from soar.utils.objects import object_of
from soar.utils.progress import printable, progress_bar

if TYPE_CHECKING:
    from soar.data.store.lance import LanceStore

Which = Annotated[Query, FLAT]
Probability = Annotated[float, Ge(0), Le(1)]
_SHOWN = 10


def merge(
    stores: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="STORE ...")],
    out: Path,
    dry_run: bool = False,
) -> None:
    """Copy the episodes of several stores into one, which is created if there is none.

    Episodes keep their ids, so those that are there already are skipped: the same command continues after an
    interruption, and copies what was added since. The stores stay as they are.

    Example: `soar data merge A B --out ALL`.

    Args:
        stores: the stores to copy from.
        out: the store to copy to.
        dry_run: say what would be copied, and copy nothing.
    """
    if not stores:
        raise ConfigError("no store is named; valid: one or more folders")
    if out.resolve() in [path.resolve() for path in stores]:
        raise ConfigError(f"{out} can't be merged into itself; name another folder with --out")
    for source in [open_readable(path) for path in stores]:
        _copy(source, sorted(source.index.ids()), out, dry_run)


def filter_data(
    store: Path,
    out: Path,
    which: Which,
    judges: tuple[str, ...] = (),
    least_p: Probability | None = None,
    most_p: Probability | None = None,
    dry_run: bool = False,
) -> None:
    """Copy the episodes that match into another store. Every given filter must match.

    Example: `soar data filter --store S --out GOOD --outcomes success --least-p 0.8`.

    Args:
        store: the store, which stays as it is.
        out: the store to copy to; it is created if there is none.
        which: filter of the episodes.
        judges: beginnings of the judges' names, such as person or compact.
        least_p: least probability of success of the verdict.
        most_p: largest probability of success of the verdict.
        dry_run: say what would be copied, and copy nothing.
    """
    from soar.data.curation.copying import select

    source = open_readable(store)
    found = select(source.query(which), judges=judges, least_p=least_p, most_p=most_p)
    _copy(source, [summary.id for summary in found], out, dry_run)


def split(
    store: Path,
    train: Path,
    held_out: Path,
    which: Which,
    fraction: Annotated[float, Gt(0), Lt(1)] = 0.1,
    by: Literal["episode", "task", "scene", "station"] = "episode",
    seed: Annotated[int, Ge(0)] = 0,
    dry_run: bool = False,
) -> None:
    """Copy a store's episodes into two others: one to train on, and one held out.

    An episode's side depends on its group's name and the seed alone, so a store that has grown keeps its split, and
    the same command copies what is new.

    Example: `soar data split --store S --train T --held-out V --by scene`.

    Args:
        store: the store, which stays as it is.
        train: the store for training.
        held_out: the store of the held-out part.
        which: filter of the episodes.
        fraction: expected share of the groups that is held out.
        by: what stays together: episodes of a task, a scene or a station, or each alone.
        seed: seed of the choice.
        dry_run: say what would be copied, and copy nothing.
    """
    from soar.data.curation.copying import held_out as is_held_out

    if len({path.resolve() for path in (store, train, held_out)}) < 3:
        raise ConfigError("--store, --train and --held-out must be three different folders")
    source = open_readable(store)
    parts: dict[bool, list[str]] = {False: [], True: []}
    for summary in source.query(which):
        parts[is_held_out(summary, fraction, by, seed)].append(summary.id)
    _copy(source, parts[False], train, dry_run)
    _copy(source, parts[True], held_out, dry_run)


def quality(store: Path, which: Which, worst: Annotated[int, Ge(0)] = 5) -> None:
    """Measure how good episodes are: idle share, action entropy, duplicates. No image is read.

    A control step is idle if the hand moved less than 2 mm and turned less than 0.01 rad, and the gripper stood still.
    Entropy is the spread of each of the actions' numbers, in bits: 5 is uniform, 0 constant. Duplicates have the same
    actions and states. It also says which numbers don't look like what the contract says: signs, axes, units, grippers.

    Example: `soar data quality --store S --stations arm1`.

    Args:
        store: the store's folder.
        which: filter of the episodes.
        worst: number of the most idle episodes to name.
    """
    from soar.data.curation.card import quality_table
    from soar.data.curation.quality import measure

    source = open_readable(store)
    summaries = list(source.query(which))
    with progress_bar() as bar:
        row = bar.add_task("reading numbers", total=len(summaries), note="")
        measured = measure(source, _advancing(summaries, lambda: bar.advance(row)))
    print(quality_table(measured))
    for episode in sorted(measured.episodes, key=lambda e: -e.idle)[:worst]:
        print(f"{episode.id}: {episode.idle:.2f} idle, {episode.longest_idle} steps in a row")
    for group in measured.duplicates[:_SHOWN]:
        print("equal: " + ", ".join(group))
    for line in measured.contradictions:
        print(printable(f"unlike its contract: {line}"))
    for id in measured.damaged[:_SHOWN]:
        print(f"{id}: its file can't be read; see `soar data verify`")


def card(
    store: Path,
    which: Which,
    name: str = "",
    license: str = "",
    measure: bool = False,
    out: Path | None = None,
    dry_run: bool = False,
) -> None:
    """Write a store's data card: contents, meaning of the numbers, judges, policies, tasks.

    Example: `soar data card --store S --license cc-by-4.0 --out README.md`.

    Args:
        store: the store's folder.
        which: filter of the episodes.
        name: name of the data set; that of the folder by default.
        license: its license, as data hubs abbreviate it.
        measure: measure the quality as well; reads every episode's numbers.
        out: file to write; it is printed by default.
        dry_run: print it, and write nothing.
    """
    from soar.data.curation.card import card as make_card
    from soar.data.curation.quality import measure as measure_quality
    from soar.utils.files import write_bytes

    source = open_readable(store)
    found = measure_quality(source, source.query(which)) if measure else None
    text = make_card(source, which, name or store.resolve().name, license, found)
    if out is None or dry_run:
        print(printable(text), end="")
        return
    write_bytes(out, text.encode())
    print(f"card written to {out}")


def _advancing(
    summaries: Iterable[EpisodeSummary], advance: Callable[[], None]
) -> Iterator[EpisodeSummary]:
    for summary in summaries:
        yield summary
        advance()


def _copy(source: LanceStore, ids: Sequence[str], out: Path, dry_run: bool) -> None:
    """Copy episodes, and say how many were copied, were there, or are damaged."""
    from soar.data.curation.copying import copy_episodes
    from soar.data.store.lance import open_store

    if dry_run:
        known = open_readable(out).index.ids() if (object_of(out) or out).exists() else set[str]()
        new = sum(id not in known for id in ids)
        print(
            f"{source.root} to {public_name(out)}: {new} episodes, {len(ids) - new} are there already"
        )
        return
    target = open_store(out, create=True)
    counts: Counter[str] = Counter()
    damaged: list[str] = []
    with progress_bar() as bar:
        row = bar.add_task(f"copying to {public_name(out)}", total=len(ids), note="")
        for id, problem in copy_episodes(source, ids, target):
            bar.advance(row)
            kind = problem if problem in ("", "there already") else "damaged"
            counts[kind] += 1
            if kind == "damaged":
                damaged.append(f"{id}: {problem}")
    print(
        f"{source.root} to {public_name(out)}: {counts['']} episodes, {counts['there already']} were there already"
    )
    print_refused(damaged, "copied")
