"""`soar data`: list, show, verify and clean up the episodes of a store."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Ge, Le
from rich.table import Table

from soar.cli.options import FLAT
from soar.errors import StoreError
from soar.types import Answer, Episode, EpisodeSummary, Image, Outcome, Query
from soar.utils.progress import literal, print_table, printable

if TYPE_CHECKING:
    from soar.data.store.lance import LanceStore

Where = Annotated[Path, tyro.conf.arg(help="The store's folder.")]
Which = Annotated[Query, FLAT]
Name = Annotated[
    str,
    tyro.conf.Positional,
    tyro.conf.arg(metavar="EPISODE", help="Its id, or the beginning or end of it."),
]
_COLORS: dict[Outcome, str] = {"success": "green", "failure": "red", "unknown": "yellow"}


def ls(store: Where, which: Which, last: Annotated[int, Ge(0)] = 20) -> None:
    """List episodes, the newest last.

    Every given filter must match.

    Example: `soar data ls --store S --outcomes success --scenes 1 3`.

    Args:
        store: the store's folder.
        which: filter of the episodes.
        last: number of newest episodes to show; 0 shows all.
    """
    found, shown = open_readable(store).newest(which, last or None)
    table = _table("episode", "steps", "verdict", "instruction", "station", "policy")
    for episode in shown:
        origin = episode.provenance
        table.add_row(
            episode.id,
            str(episode.length),
            _verdict(episode),
            literal(episode.instruction),
            literal(f"{origin.station}, {origin.regime} {origin.scene}"),
            literal(f"{origin.checkpoint or '?'}, round {origin.round}"),
        )
    print_table(table)
    print(f"{found} episodes match")


def show(name: Name, store: Where) -> None:
    """Show everything about one episode: verdict, proposal, every answer, faults.

    Example: `soar data show 3f2a --store S`.

    Args:
        name: the episode's id, or the beginning or end of it.
        store: the store's folder.
    """
    source = open_readable(store)
    summary = find_episode(source, name)
    episode = source.load(summary.id)
    table = _table("", "")
    table.show_header = False
    for key, value in _facts(summary, episode):
        table.add_row(f"[bold]{key}", literal(value))
    print_table(table)


def stats(store: Where, which: Which, table6: bool = False) -> None:
    """Count attempts and successes per task, and the store's size.

    The column "verdict" is the share that was judged a success; "truth" is the share by the simulator's ground
    truth, where there is one.

    Example: `soar data stats --store S --rounds 1`.

    Args:
        store: the store's folder.
        which: filter of the episodes.
        table6: show the store beside known data sets instead, as in the paper's Table 6.
    """
    from soar.data.curation.overview import overview

    source = open_readable(store)
    if table6:
        _print_table6(source, which, store.resolve().name)
        return
    found = overview(source, which)
    table = _table("attempts", "success", "failure", "unknown", "verdict", "truth", "task")
    for task in found.tasks:
        table.add_row(
            str(task.attempts),
            *map(str, (task.success, task.failure, task.unknown)),
            _share(task.success, task.attempts - task.unknown),
            _share(task.true, task.truths),
            literal(task.instruction),
        )
    print_table(table)
    print(
        f"{found.episodes} episodes, {found.steps} steps, {found.bytes / 1e9:.2f} GB, "
        f"{found.stations} stations, version {which.version or source.version}"
    )


def _print_table6(store: LanceStore, which: Query, name: str) -> None:
    from soar.data.curation.overview import KNOWN, table6_row

    table = _table(
        "dataset", "trajectories", "environments", "language", "failures", "public", "collection"
    )
    marks = {True: "yes", False: "no", None: "?"}
    for row in (*KNOWN, table6_row(store, which, name)):
        cells = [marks[row.language], marks[row.failures], marks[row.public]]
        table.add_row(literal(row.name), row.trajectories, row.environments, *cells, row.collection)
    print_table(table)


def verify(store: Where, sample: Annotated[int, Ge(1)] | None = None) -> None:
    """Check every version, row, file and frame, and name what is damaged.

    Exits with 1 when something is damaged. Files without a row don't count: a killed writer left them, or a running one
    is about to commit them.

    Example: `soar data verify --store S`.

    Args:
        store: the store's folder.
        sample: number of random episodes to check, without looking for files that have no row; all by default.
    """
    from soar.data.store.verify import verify as check
    from soar.utils.progress import progress_bar

    source = open_readable(store)
    total = source.index.open().count_rows()
    checked = total if sample is None else min(sample, total)
    findings = []
    with progress_bar() as bar:
        task = bar.add_task("checking every frame", total=checked, note="")
        for finding in check(source, sample=sample):
            bar.advance(task, finding.part.startswith("episode"))
            if finding.problem:
                findings.append(finding)
    damaged = [f for f in findings if not f.is_orphan]
    for finding in damaged:
        print(printable(f"{finding.part}: {finding.problem}"))
    if unmarked := len(findings) - len(damaged):
        print(f"{unmarked} files without a row; `soar data sweep` removes the old ones")
    if damaged:
        print("`soar data sweep` repairs rows; with `--damaged` it also removes damaged episodes")
        sys.exit(1)
    if sample is None:
        print(f"{total} episodes, none damaged")
    else:
        print(f"{checked} of {total} episodes checked, none damaged")


def sweep(
    store: Where,
    older_than_s: Annotated[float, Ge(0)] = 3600.0,
    damaged: bool = False,
    versions_days: Annotated[float, Ge(0), Le(36500)] = 14.0,
    dry_run: bool = False,
) -> None:
    """Remove leftovers of killed writers, repair damaged rows, delete old versions.

    Versions that a checkpoint names are kept. Safe while others write.

    Example: `soar data sweep --store S --damaged`.

    Args:
        store: the store's folder.
        older_than_s: least age of a file that is removed [s]; the writer of a younger one may still be running.
        damaged: remove episodes with damaged frames as well; their files stay, renamed.
        versions_days: age from which unnamed versions are deleted [days].
        dry_run: name what would be removed or restored, and change nothing.
    """
    from soar.data.store.lance import open_store
    from soar.data.store.verify import preview
    from soar.data.store.verify import sweep as clean_up

    act, would = (preview, "would be ") if dry_run else (clean_up, "")
    done = act(
        open_readable(store) if dry_run else open_store(store),
        older_than_s=older_than_s,
        damaged=damaged,
        keep_versions_s=versions_days * 86400,
    )
    for label, names in [
        ("removed", [str(path) for path in done.removed]),
        ("restored", done.restored),
        ("removed damaged", done.damaged),
        ("deleted version", _ranges(done.expired)),
    ]:
        for name in names:
            print(printable(f"{would}{label} {name}"))
    print(
        f"{len(done.removed)} files {would}removed, {len(done.restored)} rows {would}restored, "
        f"{len(done.damaged)} damaged episodes {would}removed, {len(done.expired)} old versions {would}deleted"
    )


def _ranges(numbers: Sequence[int]) -> list[str]:
    """Return sorted numbers as ranges: "1 to 7", "9"."""
    cuts = [0, *(i for i in range(1, len(numbers)) if numbers[i] > numbers[i - 1] + 1)]
    parts = [numbers[a:b] for a, b in zip(cuts, [*cuts[1:], len(numbers)], strict=True)]
    return [f"{p[0]} to {p[-1]}" if len(p) > 1 else str(p[0]) for p in parts if p]


def video(name: Name, store: Where, out: Path | None = None) -> None:
    """Write an episode as mp4, with the current subgoal in the top right corner.

    Example: `soar data video 3f2a --store S --out episode.mp4`.

    Args:
        name: the episode's id, or the beginning or end of it.
        store: the store's folder.
        out: file to write; EPISODE.mp4 by default.
    """
    from soar.utils.media import write_video

    source = open_readable(store)
    episode = source.load(id := find_episode(source, name).id)
    out = out or Path(f"{id}.mp4")
    write_video(out, film(episode))
    print(f"{out}: {len(episode.images)} frames, '{printable(episode.instruction)}'")


def film(episode: Episode) -> Iterator[Image]:
    """Yield the frames of an episode, each with its current subgoal and a caption."""
    from soar.utils.media import caption, inset

    text = f"{episode.instruction}: {episode.verdict.outcome}"
    for step, image in enumerate(episode.images):
        past = [s for s in episode.subgoals if s.step <= step]
        shown = inset(image, past[-1].image) if past else image
        yield caption(shown, text, lines=2)


def open_readable(folder: Path) -> LanceStore:
    """Open a store to read. Raises StoreError."""
    from soar.data.store.lance import open_store

    return open_store(folder, read_only=True)


def find_episode(store: LanceStore, name: str) -> EpisodeSummary:
    """Return the one episode whose id begins or ends with `name`. Raises StoreError."""
    found = sorted(id for id in store.index.ids() if id.startswith(name) or id.endswith(name))
    if len(found) != 1:
        few = f": {', '.join(found[:5])}" + ("..." if len(found) > 5 else "")
        raise StoreError(f"{len(found) or 'no'} episodes are called '{name}'{few if found else ''}")
    return store.summary(found[0])


def print_refused(lines: Sequence[str], what: str) -> None:
    """Name the first ten episodes that weren't `what`, such as "copied", and count the others."""
    for line in lines[:10]:
        print(printable(f"not {what}: {line}"))
    if len(lines) > 10:
        print(f"and {len(lines) - 10} others not {what}")


def _table(first: str, *columns: str) -> Table:
    """A table without lines whose first column is never cut."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in columns:
        table.add_column(name)
    return table


def _verdict(episode: EpisodeSummary) -> str:
    verdict = episode.verdict
    p = "" if verdict.p_success is None else f" {verdict.p_success:.2f}"
    return f"[{_COLORS[verdict.outcome]}]{verdict.outcome}[/]{p}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else ""


def _facts(summary: EpisodeSummary, episode: Episode) -> Iterator[tuple[str, str]]:
    origin, verdict = summary.provenance, summary.verdict
    height, width = episode.images.shape[1:3]
    yield "episode", summary.id
    yield "instruction", summary.instruction
    p = "" if verdict.p_success is None else f" {verdict.p_success:.2f}"
    yield (
        "verdict",
        f"{verdict.outcome}{p} by {verdict.judge or 'no one'}: {verdict.question} {verdict.raw}",
    )
    if origin.truth is not None:
        yield "truth", "success" if origin.truth else "failure"
    yield "length", f"{len(episode)} steps, {episode.times_s[-1] - episode.times_s[0]:.1f} s"
    if summary.interventions:
        yield "acted", _actors(episode)
    yield (
        "images",
        f"{len(episode.images)} of {width} x {height}, subgoals at steps "
        + (", ".join(str(s.step) for s in episode.subgoals) or "none"),
    )
    yield "station", f"{origin.station}, {origin.regime} scene {origin.scene}, seed {origin.seed}"
    yield "started", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(origin.started_s))
    yield "policy", f"{origin.checkpoint or '?'}, round {origin.round}"
    yield "exploration", ", ".join(f"{k} {v:g}" for k, v in origin.exploration.items()) or "none"
    if origin.proposal:
        yield "proposed", f"{origin.proposal.reason}; feasible: {_scores(summary)}"
        refused = origin.proposal.refused.items()
        if refused:
            yield "refused", "\n".join(f"{task}: {why}" for task, why in refused)
    yield "asked before", _answers(origin.answers_before)
    yield "asked after", _answers(origin.answers_after)
    yield "faults", ", ".join(origin.faults) or "none"
    yield "code, config", f"{origin.code_version or '?'}, {origin.config_hash or '?'}"


def _actors(episode: Episode) -> str:
    """Who chose the actions of which steps, as in "policy 0 to 3, person 4 to 9"."""
    spans = []
    for who, group in groupby(enumerate(episode.actors), key=lambda pair: pair[1]):
        steps = [step for step, _ in group]
        spans.append(f"{who} {steps[0]} to {steps[-1]}")
    return ", ".join(spans)


def _scores(summary: EpisodeSummary) -> str:
    proposal = summary.provenance.proposal
    if proposal is None or not proposal.feasible:
        return "none"
    scores = proposal.scores
    return ", ".join(f"{t} ({scores[t]:.2f})" if t in scores else t for t in proposal.feasible)


def _answers(answers: tuple[Answer, ...]) -> str:
    return (
        "\n".join(
            f"{'?' if a.p_yes is None else f'{a.p_yes:.2f}'}  {a.question.text.splitlines()[0]}"
            + (f"\n      {a.raw}" if "\n" in a.question.text else "")
            for a in answers
        )
        or "nothing"
    )
