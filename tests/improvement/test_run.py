"""Folder of a run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from soar.errors import ConfigError
from soar.improvement.run import RoundRecord, Run, RunRecord

MODELS = {"policy": "gcbc", "subgoals": "compact"}
RECORD = RunRecord("Scene 1", ("1",), 2, started_s=12.5, config={"a": [1, 2]}, models=MODELS)


def test_a_record_is_read_back_as_written(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    record = RECORD.with_round(RoundRecord(1, query={"rounds": [1]}, mixture={"demos": 0.8}))
    run.write(record)
    assert run.record() == record


def test_a_rounds_newer_record_takes_its_place() -> None:
    record = RECORD.with_round(RoundRecord(2)).with_round(RoundRecord(1))
    record = record.with_round(RoundRecord(1, "done", promoted=True))
    assert [(r.index, r.stage) for r in record.rounds] == [(1, "done"), (2, "collect")]


def test_a_folder_without_run_json_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run: it has no run\.json"):
        Run(tmp_path).record()


def test_a_run_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"rounds": [], "scenes": [], "color": 1}')
    with pytest.raises(ConfigError, match="not a run of this version"):
        Run(tmp_path).record()


@pytest.mark.parametrize("missing", MODELS)
def test_a_record_without_a_model_is_damaged(tmp_path: Path, missing: str) -> None:
    models = {role: name for role, name in MODELS.items() if role != missing}
    Run(tmp_path).write(replace(RECORD, models=models))
    with pytest.raises(ConfigError, match=rf"run\.json is damaged: models: has no {missing}"):
        Run(tmp_path).record()


def test_a_new_run_has_no_evaluations_and_no_logs(tmp_path: Path) -> None:
    assert Run(tmp_path).evaluations() == {}
    assert Run(tmp_path).train_logs() == {}


def test_train_logs_are_found_by_round(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for r in (10, 2):
        run.train_folder(r).mkdir(parents=True)
        (run.train_folder(r) / "log.jsonl").write_text(f'{{"step": {r}}}\n')
    assert run.train_logs() == {2: [{"step": 2}], 10: [{"step": 10}]}


@pytest.mark.parametrize("rounds", [3, [None], [{}], [{"index": 1, "stage": []}], [{"seconds": 1}]])
def test_rounds_of_a_wrong_type_are_refused_in_one_line(tmp_path: Path, rounds: object) -> None:
    about = {"title": "t", "scenes": ["1"], "rounds_requested": 1, "started_s": 0.0}
    (tmp_path / "run.json").write_text(json.dumps({**about, "rounds": rounds}))
    with pytest.raises(ConfigError, match=r"run\.json"):
        Run(tmp_path).record()
