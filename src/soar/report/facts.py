"""Facts that a report shows, read from the folder of a run or of an episode store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from soar.collection.status import StationStatus, status_folders
from soar.data.mixture import CORRECTIONS
from soar.data.store.lance import LanceStore, open_store
from soar.errors import ConfigError
from soar.evaluation.plots import format_points
from soar.evaluation.results import Comparison, Evaluation, compare
from soar.improvement.run import Run, RunRecord
from soar.types import EpisodeSummary
from soar.utils.files import Json
from soar.utils.statistics import Confusion

TASKS_SHOWN = 30
"""Most attempted tasks that are shown by name."""
OTHER_TASKS = "all other tasks"
_NAMES_SHOWN = 4


class Section(NamedTuple):
    """A section of the page: a template, and the facts that it shows as `x`."""

    title: str
    template: str
    content: Mapping[str, object]

    @property
    def anchor(self) -> str:
        """Name of the section in links."""
        return self.title.lower().replace(" ", "-")


@dataclass(frozen=True)
class RunFacts:
    """Record, evaluations and training logs of a run."""

    record: RunRecord
    evaluations: Mapping[int, Evaluation] = field(default_factory=dict)
    """Evaluations by round; 0 is before anything."""
    train_logs: Mapping[int, Sequence[Mapping[str, Json]]] = field(default_factory=dict)
    """Rows of the policy's training log by round."""
    finetune_logs: Mapping[int, Sequence[Mapping[str, Json]]] = field(default_factory=dict)
    """Rows of the subgoal generator's training log by round."""

    @property
    def corrected(self) -> bool:
        """Whether the policy learned from corrected actions, instead of imitating successful episodes."""
        names = [name for r in self.record.rounds for name in r.mixture]
        return any(name.startswith(CORRECTIONS) for name in names)

    @property
    def follows_instructions(self) -> bool:
        """Whether the policy follows instructions alone, without subgoals."""
        return self.record.models["subgoals"] == "none"

    @property
    def teacher(self) -> str:
        """Name of the policy that collects in place of the one that learns; "" for none."""
        return self.record.models.get("teacher", "")

    @property
    def before(self) -> Evaluation | None:
        """Evaluation before anything."""
        return self.evaluations.get(0)

    @property
    def after(self) -> Evaluation | None:
        """Evaluation of the last promoted round's candidate, or of the last one if none was promoted."""
        later = [r for r in self.evaluations if r > 0]
        promoted = [r.index for r in self.record.rounds if r.promoted and r.index in later]
        chosen = max(promoted or later, default=None)
        return None if chosen is None else self.evaluations[chosen]

    @property
    def comparison(self) -> Comparison | None:
        """Comparison of before and after on shared starts, where both exist."""
        if self.before is None or self.after is None:
            return None
        try:
            return compare(self.before, self.after)
        except ConfigError:
            return None  # one of them has only just begun

    @property
    def hours(self) -> float:
        """Wall-clock time of all finished stages [h]."""
        rounds = [s for r in self.record.rounds for s in r.seconds.values()]
        return sum([*rounds, *self.record.seconds.values()]) / 3600


@dataclass(frozen=True)
class Facts:
    """Contents of a folder, read once: a collection of episodes, and a run where it belongs to one."""

    folder: Path
    store: LanceStore | None
    episodes: tuple[EpisodeSummary, ...] = ()
    """Collected episodes, oldest first."""
    stations: tuple[StationStatus, ...] = ()
    """Last status of each station."""
    events: tuple[dict[str, Json], ...] = ()
    """Faults, dropped episodes and missing objects of all stations, oldest first."""
    run: RunFacts | None = None


def read_facts(folder: Path) -> Facts:
    """Read the folder of a run or of an episode store; parts of a run that don't exist yet are empty.

    Raises:
        ConfigError: it is neither a run nor a store, or a file of it is damaged.
        StoreError: the store can't be read.
    """
    run, facts = Run(folder), None
    if (folder / "run.json").exists():
        facts = RunFacts(run.record(), run.evaluations(), run.train_logs(), run.finetune_logs())
    elif not (folder / "store.json").exists():
        raise ConfigError(f"{folder} is neither a run (run.json) nor an episode store (store.json)")
    path = folder if facts is None else run.store
    if not path.exists():
        return Facts(folder, None, run=facts)
    store, folders = open_store(path, read_only=True), status_folders(path)
    events = sorted((e for f in folders for e in f.events()), key=lambda e: e["time_s"])
    stations = tuple(f.status() for f in folders)
    return Facts(folder, store, tuple(store.query()), stations, tuple(events), facts)


class Counts(NamedTuple):
    """Attempts and outcomes of a group of episodes, such as those of a task."""

    name: str
    attempts: int
    successes: int
    """Number of episodes judged a success."""
    unknown: int
    truths: int
    """Number of episodes of which the simulator knows the truth; 0 on real robots."""
    true_successes: int
    """Number of true successes among these."""


def count_by(
    episodes: Sequence[EpisodeSummary], key: Callable[[EpisodeSummary], str]
) -> list[Counts]:
    """Count attempts and outcomes of each group, the most attempted first."""
    groups: dict[str, list[EpisodeSummary]] = {}
    for episode in episodes:
        groups.setdefault(key(episode), []).append(episode)
    counts = [_counts(name, own) for name, own in groups.items()]
    return sorted(counts, key=lambda c: -c.attempts)


def _counts(name: str, episodes: Sequence[EpisodeSummary]) -> Counts:
    outcomes = Counter(e.verdict.outcome for e in episodes)
    truths = [e.provenance.truth for e in episodes if e.provenance.truth is not None]
    return Counts(
        name, len(episodes), outcomes["success"], outcomes["unknown"], len(truths), sum(truths)
    )


def task_labels(episodes: Sequence[EpisodeSummary]) -> dict[str, str]:
    """Map the most attempted instructions to themselves and all others to one label."""
    tasks = [name for name, _ in Counter(e.instruction for e in episodes).most_common()]
    shown = set(tasks if len(tasks) <= TASKS_SHOWN + 1 else tasks[:TASKS_SHOWN])
    return {task: task if task in shown else OTHER_TASKS for task in tasks}


def confusion(episodes: Sequence[EpisodeSummary]) -> Confusion:
    """Count verdicts against the truth; episodes without a known truth are left out."""
    return Confusion.of(
        (e.verdict.outcome, e.provenance.truth) for e in episodes if e.provenance.truth is not None
    )


def summarize(facts: Facts) -> str:
    """Summarize the result in one or two sentences, for readers who don't know the project."""
    if facts.run is None:
        return _summarize_collection(facts.episodes)
    comparison = facts.run.comparison
    if comparison is None:
        return _summarize_unfinished(facts.run, len(facts.episodes))
    change = comparison.difference
    before, after = (sum(outcomes) / len(outcomes) for outcomes in comparison.outcomes)
    significance = (
        "more than chance explains"
        if change.low > 0
        else "worse than chance explains"
        if change.high < 0
        else "within what chance alone can do"
    )
    teacher, count = facts.run.teacher, len(facts.episodes)
    collected = (
        f"With {count} episodes that another policy ({teacher}) collected on its own"
        if teacher
        else f"After collecting {count} episodes on its own"
    )
    return (
        f"{collected}, the robot succeeds in {after:.0%} of "
        f"{len(comparison.pairs)} trials instead of {before:.0%}, from exactly the same starts: a change "
        f"of {format_points(change.value)} points (95 % interval {format_points(change.low)} to "
        f"{format_points(change.high)}), {significance}."
    )


def _summarize_unfinished(run: RunFacts, episodes: int) -> str:
    before, rounds = run.before, run.record.rounds
    if before is None or not before.trials:
        return "The run has only begun: nothing has been evaluated yet."
    share = f"{before.overall().value:.0%} of {len(before.trials)} trials"
    if rounds and all(r.stage == "done" and not r.candidate for r in rounds):
        return (
            f"The robot collected {episodes} episodes on its own and judged none of them a success, so it had "
            f"nothing to learn from. It succeeds in {share}, as before."
        )
    return f"The run isn't finished. Before learning, the robot succeeds in {share}."


def _summarize_collection(episodes: Sequence[EpisodeSummary]) -> str:
    if not episodes:
        return "This store has no episodes yet."
    tasks = len({e.instruction for e in episodes})
    stations = len({e.provenance.station for e in episodes})
    first, last = (day(e.provenance.started_s) for e in (episodes[0], episodes[-1]))
    dates = f"on {first}" if first == last else f"from {first} to {last}"
    return (
        f"{_count(len(episodes), 'episode')} of {_count(tasks, 'task')}, collected by "
        f"{_count(stations, 'station')} {dates}. {verdict_shares(episodes)} No evaluation belongs to a store: "
        "whether a policy became better is not measured here."
    )


def verdict_shares(episodes: Sequence[EpisodeSummary]) -> str:
    """Return one sentence with the share of each verdict and the judges' names."""
    outcomes = Counter(e.verdict.outcome for e in episodes)
    success, failure, unknown = (
        f"{outcomes[o] / len(episodes):.0%} ({outcomes[o]})"
        for o in ("success", "failure", "unknown")
    )
    judges = sorted({e.verdict.judge for e in episodes} - {""})
    by = f" by {join_names(judges)}" if judges else ""
    return f"Judged{by}: {success} success, {failure} failure, {unknown} unknown."


def join_names(names: Iterable[str]) -> str:
    """Join the first few names, and count the others."""
    distinct = list(dict.fromkeys(names))
    shown = ", ".join(distinct[:_NAMES_SHOWN])
    others = len(distinct) - _NAMES_SHOWN
    return f"{shown} and {others} more" if others > 0 else shown


def day(time_s: float) -> str:
    """Format the date of a Unix time, in UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%-d %B %Y")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
