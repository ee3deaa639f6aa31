"""What a run's folder says, counted: everything a report shows comes from here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from soar.collection.status import StationStatus, status_folders
from soar.data.mixture import CORRECTIONS
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.evaluation.plots import format_points
from soar.evaluation.results import Comparison, Evaluation, compare
from soar.improvement.run import Run, RunRecord
from soar.types import EpisodeSummary
from soar.utils.files import Json
from soar.utils.statistics import Confusion


@dataclass(frozen=True)
class TaskFacts:
    """How one task fared in collection."""

    instruction: str
    attempts: int
    successes: int
    """By the VLM's verdict."""
    unknown: int
    true_successes: int | None
    """By the simulator's own word; None on real robots."""


@dataclass(frozen=True)
class Facts:
    """A run, read once."""

    run: Run
    record: RunRecord
    evaluations: dict[int, Evaluation]
    """By round; 0 is before anything."""
    episodes: tuple[EpisodeSummary, ...]
    """Of the collection, oldest first."""
    train_logs: dict[int, list[dict[str, Json]]]
    imagination_logs: dict[int, list[dict[str, Json]]]
    store_version: int | None
    stations: tuple[StationStatus, ...] = ()
    """As they showed themselves last."""
    events: tuple[dict[str, Json], ...] = ()
    """Faults, dropped episodes and missing objects of all stations, oldest first."""

    @property
    def corrected(self) -> bool:
        """Whether the policy learned what should have been done, instead of imitating what went well."""
        named = [name for r in self.record.rounds for name in r.mixture]
        return any(name.startswith(CORRECTIONS) for name in named)

    @property
    def before(self) -> Evaluation | None:
        """Success before anything."""
        return self.evaluations.get(0)

    @property
    def after(self) -> Evaluation | None:
        """Success of the last promoted round's checkpoint; of the last one fitted if none was promoted."""
        later = [r for r in self.evaluations if r > 0]
        promoted = [r.index for r in self.record.rounds if r.promoted and r.index in later]
        chosen = max(promoted or later, default=None)
        return None if chosen is None else self.evaluations[chosen]

    @property
    def comparison(self) -> Comparison | None:
        """Before and after on the same starts, where both exist."""
        if self.before is None or self.after is None:
            return None
        try:
            return compare(self.before, self.after)
        except ConfigError:
            return None  # one of them has only just begun

    def of_round(self, index: int) -> list[EpisodeSummary]:
        """The episodes collected in one round."""
        return [e for e in self.episodes if e.provenance.round == index]

    @property
    def hours(self) -> float:
        """Wall-clock time of all finished stages."""
        rounds = [s for r in self.record.rounds for s in r.seconds.values()]
        return sum([*rounds, *self.record.seconds.values()]) / 3600


def read_facts(run: Run) -> Facts:
    """Read a run's folder; parts that don't exist yet are empty.

    Raises:
        ConfigError: it is no run, or a file of it is damaged.
        StoreError: there is a store that can't be read.
    """
    store = open_store(run.store, read_only=True) if run.store.exists() else None
    stations = status_folders(run.store)
    events = [e for board in stations for e in board.events()]
    return Facts(
        run=run,
        record=run.record(),
        evaluations=run.evaluations(),
        episodes=() if store is None else tuple(store.query()),
        train_logs=run.train_logs(),
        imagination_logs=run.finetune_logs(),
        store_version=None if store is None else store.version,
        stations=tuple(b.status() for b in stations),
        events=tuple(sorted(events, key=lambda e: e["time_s"])),
    )


def confusion(episodes: Sequence[EpisodeSummary]) -> Confusion:
    """Count verdicts against truth; episodes without a truth are left out."""
    known = [e for e in episodes if e.provenance.truth is not None]
    counts = Counter((e.verdict.outcome, e.provenance.truth) for e in known)
    return Confusion(
        true_success=counts["success", True],
        false_success=counts["success", False],
        false_failure=counts["failure", True],
        true_failure=counts["failure", False],
        unknown=counts["unknown", True] + counts["unknown", False],
    )


def by_task(episodes: Sequence[EpisodeSummary]) -> list[TaskFacts]:
    """Attempts and successes of every task, the most tried first."""
    tasks = Counter(e.instruction for e in episodes)
    return [
        _task(name, [e for e in episodes if e.instruction == name])
        for name, _ in tasks.most_common()
    ]


def _task(instruction: str, episodes: Sequence[EpisodeSummary]) -> TaskFacts:
    outcomes = Counter(e.verdict.outcome for e in episodes)
    truths = [e.provenance.truth for e in episodes if e.provenance.truth is not None]
    return TaskFacts(
        instruction,
        len(episodes),
        outcomes["success"],
        outcomes["unknown"],
        sum(truths) if truths else None,
    )


def sentence(facts: Facts) -> str:
    """What came of it, in one or two sentences for someone who knows nothing of the project."""
    comparison = facts.comparison
    if comparison is None:
        before = facts.before
        if before is None or not before.trials:
            return "The run has only begun: nothing has been evaluated yet."
        share = f"{before.overall().value:.0%} of {len(before.trials)} trials"
        rounds = facts.record.rounds
        if rounds and all(r.stage == "done" and not r.candidate for r in rounds):
            return (
                f"The robot practised on its own for {len(facts.episodes)} episodes and took none of them "
                f"for a success, so it had nothing to learn from. It succeeds in {share}, as before."
            )
        return f"The run isn't finished. Before any practice the robot succeeds in {share}."
    change = comparison.difference
    old = sum(b.outcome == "success" for b, _ in comparison.pairs) / len(comparison.pairs)
    new = sum(a.outcome == "success" for _, a in comparison.pairs) / len(comparison.pairs)
    proven = (
        "more than chance explains"
        if change.low > 0
        else "worse than chance explains"
        if change.high < 0
        else "within what chance alone can do"
    )
    return (
        f"After practising on its own for {len(facts.episodes)} episodes, the robot succeeds in {new:.0%} of "
        f"{len(comparison.pairs)} trials instead of {old:.0%}, from exactly the same starts: a change "
        f"of {format_points(change.value)} points (95 % interval {format_points(change.low)} to "
        f"{format_points(change.high)}), {proven}."
    )
