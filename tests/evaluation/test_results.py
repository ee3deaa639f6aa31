"""Evaluations on disk, rates, and paired differences."""

from dataclasses import replace
from pathlib import Path

import pytest

from soar.errors import ConfigError
from soar.evaluation.results import (
    TRIALS,
    EvalSetting,
    Evaluation,
    Trial,
    add_trials,
    compare,
    open_evaluation,
)
from soar.types import Outcome

PUT, TAKE = "put the block in the bowl", "take the block out of the bowl"
SETTING = EvalSetting("c0", "gcbc", "expert", (("1", PUT), ("1", TAKE)), 4, 100, 5, 20)


def trial(seed: int, outcome: Outcome, task: str = PUT) -> Trial:
    return Trial("1", task, seed, outcome, ever=outcome == "success", lost=("block",))


def evaluation(folder: Path, outcomes: str, task: str = PUT) -> Evaluation:
    """Write one trial for each letter: s, f or u."""
    words: dict[str, Outcome] = {"s": "success", "f": "failure", "u": "unknown"}
    open_evaluation(folder, SETTING)
    add_trials(folder, [trial(100 + i, words[o], task) for i, o in enumerate(outcomes)])
    return open_evaluation(folder)


def test_an_evaluation_is_read_back_as_written(tmp_path: Path) -> None:
    found = evaluation(tmp_path, "sffs")
    assert found.setting == SETTING
    assert found.trials[0] == trial(100, "success")
    assert [t.seed for t in found.trials] == [100, 101, 102, 103]


def test_rates_are_per_task_and_per_scene(tmp_path: Path) -> None:
    evaluation(tmp_path, "sfff")
    found = evaluation(tmp_path, "ssss", TAKE)
    assert [i.value for i in found.by_task().values()] == [0.25, 1.0]
    assert found.by_scene()["1"].value == found.overall().value == 5 / 8


def test_an_evaluation_is_finished_when_every_task_has_its_trials(tmp_path: Path) -> None:
    assert not evaluation(tmp_path, "ssss").finished
    assert evaluation(tmp_path, "ffff", TAKE).finished


def test_an_evaluation_grows_by_trials_and_tasks_and_refuses_others_in_one_short_line(
    tmp_path: Path,
) -> None:
    evaluation(tmp_path, "ssss")
    more = replace(SETTING, trials=5, tasks=(*SETTING.tasks, *(("2", f"{PUT} {i}") for i in range(99))))  # fmt: skip
    assert open_evaluation(tmp_path, more).setting == more
    with pytest.raises(
        ConfigError, match="of other tasks, such as 'put the block in the bowl 0' in scene 2"
    ) as e:
        open_evaluation(tmp_path, SETTING)
    assert len(str(e.value).replace(str(tmp_path), "")) < 150


def test_unknown_enters_no_rate(tmp_path: Path) -> None:
    assert evaluation(tmp_path, "sfuu").overall().value == 0.5


def test_a_truncated_last_line_is_ignored_and_removed(tmp_path: Path) -> None:
    evaluation(tmp_path, "sf")
    with (tmp_path / TRIALS).open("a") as file:
        file.write('{"scene": "1", "instr')
    assert len(open_evaluation(tmp_path).trials) == 2
    add_trials(tmp_path, [trial(102, "success")])
    assert len(open_evaluation(tmp_path).trials) == 3


def test_an_evaluation_can_be_extended_but_not_changed(tmp_path: Path) -> None:
    evaluation(tmp_path, "sf")
    assert open_evaluation(tmp_path, replace(SETTING, trials=50)).setting.trials == 50
    with pytest.raises(ConfigError, match="checkpoint 'c0', not 'c1'"):
        open_evaluation(tmp_path, replace(SETTING, checkpoint="c1"))


def test_an_evaluation_has_one_judge(tmp_path: Path) -> None:
    person, vlm = (replace(SETTING, details={"judge": judge}) for judge in ("person", "compact"))
    open_evaluation(tmp_path, person)
    assert open_evaluation(tmp_path, replace(person, trials=50)).setting.trials == 50
    with pytest.raises(ConfigError, match="that 'person' judges, not 'compact'"):
        open_evaluation(tmp_path, vlm)


def test_a_folder_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.json is missing"):
        open_evaluation(tmp_path)


def test_the_difference_uses_only_shared_starts(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "a", "ffffss"), evaluation(tmp_path / "b", "ssfu")
    comparison = compare(before, after)
    assert len(comparison.pairs) == 3
    assert comparison.difference.value == pytest.approx(2 / 3)
    assert comparison.by_task()["1", PUT].difference == comparison.difference
    assert comparison.p_value == 0.5


def test_evaluations_without_a_common_start_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="share no judged start"):
        compare(evaluation(tmp_path / "a", "s"), evaluation(tmp_path / "b", "s", TAKE))


def test_trials_of_one_length_are_compared_however_many_subgoals_they_have(tmp_path: Path) -> None:
    """The whole system gets ten subgoals of ten steps, a policy that follows instructions five of twenty."""
    before = evaluation(tmp_path / "a", "s")
    after = replace(before, setting=replace(SETTING, subgoals_per_trial=10, steps_per_subgoal=10))
    assert len(compare(before, after).pairs) == 1


def test_trials_of_different_lengths_cannot_be_compared(tmp_path: Path) -> None:
    before = evaluation(tmp_path / "a", "s")
    after = replace(before, setting=replace(SETTING, steps_per_subgoal=10))
    with pytest.raises(ConfigError, match="a trial lasts 100 and 50 control steps"):
        compare(before, after)
