"""Facts of runs and collections."""

from dataclasses import replace
from pathlib import Path

import pytest

from soar.improvement.run import Run
from soar.report.facts import (
    OTHER_TASKS,
    TASKS_SHOWN,
    Facts,
    RunFacts,
    confusion,
    count_by,
    read_facts,
    summarize,
    task_labels,
)
from soar.report.process_sections import collection
from soar.types import EpisodeSummary
from soar.utils.statistics import Confusion


@pytest.fixture(scope="module")
def facts(run: Run) -> Facts:
    return read_facts(run.folder)


@pytest.fixture(scope="module")
def run_facts(facts: Facts) -> RunFacts:
    assert facts.run is not None
    return facts.run


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


def test_attempts_and_outcomes_are_counted_by_task(facts: Facts) -> None:
    tasks = count_by(facts.episodes, lambda e: e.instruction)
    assert [t.attempts for t in tasks] == [6, 6]
    assert sum(t.unknown for t in tasks) == 1
    assert sum(t.true_successes for t in tasks) == sum(
        bool(e.provenance.truth) for e in facts.episodes
    )


def test_true_success_is_the_share_of_the_known_truths(facts: Facts) -> None:
    for known, shown in ((4, "75%"), (3, "67% of 3"), (0, "")):
        truths = [True, False, True, True][:known] + [None] * (4 - known)
        episodes = [with_truth(facts.episodes, "success", t) for t in truths]
        section = collection(replace(facts, episodes=tuple(episodes)))
        assert section
        assert [row[1:4] for row in section.content["tasks"]] == [("4", "100%", shown)]  # type: ignore[attr-defined]


def test_events_of_all_stations_are_in_order(facts: Facts) -> None:
    assert [e["kind"] for e in facts.events] == ["robot fault", "missing"]
    assert [s.station for s in facts.stations] == ["arm-0"]


def test_tasks_beyond_the_most_attempted_share_one_label(facts: Facts) -> None:
    instructions = ["often", "often", *(f"task {n}" for n in range(TASKS_SHOWN + 1))]
    labels = task_labels([replace(facts.episodes[0], instruction=i) for i in instructions])
    assert labels["often"] == "often"
    assert list(labels.values()).count(OTHER_TASKS) == 2


def test_the_summary_of_a_run_gives_the_paired_change(facts: Facts) -> None:
    assert "succeeds in 60% of 10 trials instead of 20%" in summarize(facts)
    assert "+40 points" in summarize(facts)


def test_the_summary_names_a_teacher(facts: Facts) -> None:
    assert "After collecting 12 episodes on its own, the robot" in summarize(facts)
    assert facts.run
    record = replace(facts.run.record, models={**facts.run.record.models, "teacher": "gcbc"})
    told = "With 12 episodes that another policy (gcbc) collected on its own, the robot succeeds"
    assert told in summarize(replace(facts, run=replace(facts.run, record=record)))


def test_the_summary_of_a_run_that_has_only_begun_says_so(run: Run, tmp_path: Path) -> None:
    fresh = Run(tmp_path)
    fresh.write(replace(run.record(), rounds=()))
    assert "nothing has been evaluated yet" in summarize(read_facts(tmp_path))


def test_the_summary_of_a_store_counts_episodes_and_verdicts(run: Run) -> None:
    text = summarize(read_facts(run.store))
    assert "12 episodes of 2 tasks, collected by 1 station on 14 November 2023." in text
    assert "8% (1) unknown" in text
    assert "No evaluation belongs to a store" in text


def test_after_is_the_evaluation_of_the_last_promoted_round(run_facts: RunFacts) -> None:
    later = dict(run_facts.evaluations) | {2: run_facts.evaluations[0]}
    assert replace(run_facts, evaluations=later).after is run_facts.evaluations[1]
