"""`soar data import` and `soar data export`: data sets of other formats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Ge, Le

from soar.cli.data import print_refused
from soar.cli.options import FLAT
from soar.errors import ConfigError
from soar.exchange.lerobot.writer import LeRobotOptions
from soar.types import Query
from soar.utils.files import public_name
from soar.utils.progress import printable, progress_bar

if TYPE_CHECKING:
    from soar.exchange.export import Counts
    from soar.exchange.recording import Recording

Folder = Annotated[Path, tyro.conf.Positional]
Format = Literal["lerobot", "rlds", "soar-logs", "bridge-raw"]


def import_data(
    folder: Folder,
    store: Path,
    from_: Annotated[Format | None, tyro.conf.arg(name="from")] = None,
    contract: Path | None = None,
    camera: str = "",
    outcome: Literal["success", "failure"] | None = None,
    least_confidence: Annotated[float, Ge(0), Le(1)] = 0.0,
    drop_still_start: bool = False,
    convert: bool = False,
    dry_run: bool = False,
) -> None:
    """Store the episodes of a data set of another format.

    The format is recognized: LeRobot v3.0, RLDS (soar_dataset, bridge_dataset and others), the logs of the paper's
    robots, raw BridgeData V2. Image files are stored as they are, unless they come from a video. Each episode gets
    the same id at every import, so the same command continues after an interruption, and stores nothing twice. At the
    end it says which numbers don't look like what the contract says: signs, axes, units, grippers.

    Example: `soar data import soar_dataset/1.0.0 --store S`.

    Args:
        folder: the data set.
        store: the store's folder; it is created if there is none.
        from_: the format; None to recognize it.
        contract: YAML file with the meaning of actions, states and images, where the data set doesn't state it.
        camera: name of the primary camera (LeRobot); the one called primary, or the first, by default.
        outcome: verdict of episodes about whose success the data set says nothing, such as demonstrations; they stay
            unknown by default.
        least_confidence: instructions of which the labeler was less sure than this are dropped (raw BridgeData).
        drop_still_start: leave out the first steps, in which nothing moves yet, as in BridgeData.
        convert: express the numbers in the WidowX's terms (meters, radians, changes in a step, gripper 0 closed to 1
            open), which policies learn from, whatever the data set's contract is.
        dry_run: read and check everything, and store nothing.
    """
    from soar.contract.contract import Contract
    from soar.data.store.lance import open_store
    from soar.exchange.conventions import Examined
    from soar.exchange.formats import open_data_set, recognize
    from soar.exchange.stores import check_episodes, import_episodes
    from soar.utils.config import load

    format = from_ or recognize(folder)
    _refuse_options_of_others(format, contract, camera, least_confidence)
    meaning = load(Contract, contract) if contract else None
    data_set = open_data_set(
        folder, format, contract=meaning, camera=camera, least_confidence=least_confidence
    )
    reader = Examined(data_set, convert)
    print(printable(f"{reader.name}: {format}, {len(reader)} episodes"))
    if dry_run:
        results = check_episodes(reader)
    else:
        target = open_store(store, create=True)
        results = import_episodes(reader, target, outcome, drop_still_start)
    done = "can be stored" if dry_run else f"stored in {public_name(store)}"
    _print_import(results, len(reader), done)
    for line in reader.contradictions():
        print(printable(f"unlike its contract: {line}"))


def _refuse_options_of_others(
    format: Format, contract: Path | None, camera: str, least_confidence: float
) -> None:
    """Raise ConfigError for an option that is given and has no effect for a format."""
    if contract and format not in ("lerobot", "rlds"):
        raise ConfigError(
            f"--contract is for LeRobot and RLDS; the data set's format is {format}, whose contract is known"
        )
    if camera and format != "lerobot":
        raise ConfigError(f"--camera is for LeRobot; the data set's format is {format}")
    if least_confidence and format != "bridge-raw":
        raise ConfigError(
            f"--least-confidence is for bridge-raw; the data set's format is {format}"
        )


def export_data(
    out: Folder,
    store: Path,
    to: Literal["lerobot", "rlds"],
    which: Annotated[Query, FLAT],
    content: Annotated[LeRobotOptions, FLAT] = LeRobotOptions(),  # noqa: B008
    as_: Annotated[Literal["soar", "bridge"], tyro.conf.arg(name="as")] = "soar",
    progress: bool = False,
    dry_run: bool = False,
) -> None:
    """Write episodes as a data set of another format.

    The data set appears at OUT when it is complete. The same command continues after an interruption and, when
    the store has grown, appends what OUT lacks.

    Example: `soar data export D --store S --to lerobot --outcomes success`.

    Args:
        out: folder of the data set.
        store: the store's folder.
        to: LeRobot v3.0, or RLDS as TensorFlow Datasets reads it.
        which: filter of the episodes.
        content: content of the data set; of these options, RLDS has the last frame alone.
        as_: features of soar_dataset or of bridge_dataset (rlds).
        progress: write the progress of every frame, for reward-weighted cloning (lerobot).
        dry_run: say what would be written, and write nothing.
    """
    from soar.data.store.lance import open_store
    from soar.exchange.export import RldsOptions, export_episodes, stored_bytes
    from soar.exchange.stores import one_contract

    options = content if to == "lerobot" else RldsOptions(as_, content.last_frame)
    if to == "rlds":
        _refuse(progress=progress, **vars(replace(content, last_frame=False)))
    source = open_store(store, read_only=True)
    _, facts = one_contract(source.query(which))
    if dry_run:
        size_gb = stored_bytes(source, which) / 1e9
        print(f"{facts['episodes']} episodes, {facts['steps']} steps, {size_gb:.2f} GB match")
        return
    with progress_bar() as bar:
        row = bar.add_task("writing", total=facts["episodes"], note="")
        counts = export_episodes(
            source, which, out, options, progress=progress, on_episode=lambda _: bar.advance(row)
        )
    _print_counts(counts, out)


def _refuse(**options: object) -> None:
    """Raise ConfigError for a LeRobot option that was given for RLDS."""
    if wrong := [name for name, value in options.items() if value]:
        raise ConfigError(f"--{wrong[0]} doesn't apply to rlds; valid: --as, --last-frame")


def _print_import(results: Iterable[tuple[Recording, str]], total: int, done: str) -> None:
    """Go through the results of an import, and say what was stored and what wasn't."""
    stored = steps = there = 0
    refused: list[str] = []
    with progress_bar() as bar:
        row = bar.add_task("reading", total=total, note="")
        for recording, problem in results:
            bar.update(row, advance=1, note=printable(recording.instruction)[:40])
            stored, steps = stored + (not problem), steps + len(recording) * (not problem)
            there += problem == "there already"
            if problem and problem != "there already":
                refused.append(f"{recording.key}: {problem}")
    print(f"{stored} episodes, {steps} steps {done}" + (f"; {there} were there" if there else ""))
    print_refused(refused, "stored")


def _print_counts(counts: Counts, out: Path) -> None:
    print(f"{counts.exported} episodes written to {out}")
    if counts.there:
        print(f"{counts.there} were there")
    if counts.changed:
        print(
            f"{counts.changed} of those have another verdict now, and the data set has the old one; "
            "export to a new folder"
        )
    if counts.unknown:
        print(
            f"{counts.unknown} left out: their outcome is unknown, and soar_dataset has no place for it"
        )
