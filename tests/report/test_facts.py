"""What a run's folder says, counted."""

from dataclasses import replace
from pathlib import Path

import pytest

from soar.improvement.run import Run
from soar.report.facts import Facts, by_task, confusion, read_facts, sentence
from soar.types import EpisodeSummary
from soar.utils.statistics import Confusion


@pytest.fixture(scope="module")
def facts(run: Run) -> Facts:
    return read_facts(run)


def with_truth(
    episodes: tuple[EpisodeSummary, ...], outcome: str, truth: bool | None
) -> EpisodeSummary:
    base = episodes[0]
    return replace(
        base,
        verdict=replace(base.verdict, outcome=outcome),  # type: ignore[arg-type]
        provenance=replace(base.provenance, truth=truth),
    )


def test_verdicts_are_counted_against_the_truth(facts: Facts) -> None:
    cases = [
        *[("success", True)] * 3,
        *[("success", False)] * 2,
        *[("failure", True)] * 1,
        *[("failure", False)] * 4,
        ("unknown", True),
        ("success", None),
    ]
    found = confusion([with_truth(facts.episodes, o, t) for o, t in cases])
    assert found == Confusion(3, 2, 1, 4, 1)
    assert found.judged == 10
    assert found.accuracy.value == 0.7
    assert found.precision.value == 0.6
    assert found.recall.value == 0.75


def test_tasks_are_counted_from_the_store(facts: Facts) -> None:
    tasks = by_task(facts.episodes)
    assert [t.attempts for t in tasks] == [6, 6]
    assert sum(t.unknown for t in tasks) == 1
    assert sum(t.true_successes or 0 for t in tasks) == sum(
        bool(e.provenance.truth) for e in facts.episodes
    )


def test_events_of_all_stations_are_in_order(facts: Facts) -> None:
    assert [e["kind"] for e in facts.events] == ["robot fault", "missing"]
    assert [s.station for s in facts.stations] == ["arm-0"]


def test_the_sentence_names_the_paired_change(facts: Facts) -> None:
    assert "succeeds in 60% of 10 trials instead of 20%" in sentence(facts)
    assert "+40 points" in sentence(facts)


def test_a_run_that_has_only_begun_says_so(run: Run, tmp_path: Path) -> None:
    fresh = Run(tmp_path)
    fresh.write(replace(run.record(), rounds=()))
    assert "nothing has been evaluated yet" in sentence(read_facts(fresh))


def test_the_promoted_round_is_what_counts_as_after(facts: Facts) -> None:
    later = dict(facts.evaluations) | {2: facts.evaluations[0]}
    assert replace(facts, evaluations=later).after is facts.evaluations[1]
