"""`soar evaluate`, `soar compare` and `soar report`, as typed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from soar import checkpoint
from soar.cli import main
from soar.cli.evaluate import _name, _simulated
from soar.data.transforms import NormalizeActions, Resize, ToFloat
from soar.evaluation.protocol import EvalConfig
from soar.evaluation.results import EvalSetting, open_evaluation
from soar.policies.loading import build_policy
from soar.training.policy import debug

PUT = "put the green block in the wooden bowl"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained one."""
    folder = tmp_path_factory.mktemp("policy")
    torch.manual_seed(0)
    config = debug().policy
    transforms = [Resize(config.resolution), ToFloat(), NormalizeActions((0.0,) * 7, (0.01,) * 7)]
    made = build_policy(config, transforms)
    checkpoint.save(folder, made.checkpoint({}))
    return folder


def refused(*words: str) -> int:
    with pytest.raises(SystemExit) as exit:
        main(words)
    return int(exit.value.code or 0)


def test_an_evaluation_is_printed_written_and_compared(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "e"
    main(("evaluate", "--checkpoint", str(policy), "--scene", "1", "--tasks", PUT, "--trials", "1",
          "--subgoals", "expert", "--workers", "1", "--video-size", "0", "--out", str(out)))  # fmt: skip
    assert "0/1" in capsys.readouterr().out
    setting = json.loads((out / "evaluation.json").read_text())
    assert (setting["policy"], setting["subgoals"]) == ("gcbc", "expert")
    main(("compare", str(out), str(out)))
    printed = capsys.readouterr().out
    assert "+0.00" in printed
    assert f"before: gcbc {setting['checkpoint']}, subgoals: expert" in printed


def test_an_evaluations_folder_holds_the_configuration_that_repeats_it(
    policy: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    main(("evaluate", "--checkpoint", str(policy), "--tasks", PUT, "--trials", "1", "--out", str(first),
          "--subgoals", "expert", "--workers", "1", "--video-size", "0", "--first-seed", "7"))  # fmt: skip
    main(("evaluate", "--config", str(first / "config.yaml"), "--out", str(second)))
    for name in ("evaluation.json", "trials.jsonl", "config.yaml"):
        assert (second / name).read_text() == (first / name).read_text()


def test_an_unknown_task_is_one_line_with_the_valid_ones(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused("evaluate", "--checkpoint", str(policy), "--tasks", "dance") == 2
    assert f"no task 'dance' here; there is: '{PUT}'" in capsys.readouterr().err


def test_random_scenes_beside_others_are_one_line(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused("evaluate", "--checkpoint", str(policy), "--scenes", "1", "bridge") == 2
    err = capsys.readouterr().err
    assert "--scenes 1 bridge mixes random scenes" in err
    assert err.count("\n") == 1


def test_a_random_regimes_evaluation_grows_and_a_scene_that_is_named_twice_counts_once(
    policy: Path, tmp_path: Path
) -> None:
    def setting(trials: int, *scenes: str) -> EvalSetting:
        return _simulated(EvalConfig(str(policy), "expert", trials), scenes)[1]

    assert open_evaluation(tmp_path, setting(2, "bridge")).setting.trials == 1
    assert len(open_evaluation(tmp_path, setting(3, "bridge")).setting.scenes) == 3
    assert setting(2, "5", "5") == setting(2, "5")


def test_evaluations_that_differ_have_folders_of_their_own(policy: Path) -> None:
    config = EvalConfig(str(policy), "expert", 1)
    others = [
        replace(config, first_seed=7),
        replace(config, tasks=(PUT,)),
        replace(config, tasks=(PUT, "put the green block beside the wooden bowl")),
        replace(config, steps_per_subgoal=5),
        replace(config, tasks=(PUT,), first_seed=7),
    ]
    setting = _simulated(config, ("1",))[1]
    names = [_name(setting, c, ("1",)) for c in (config, replace(config, trials=9), *others)]
    assert names[0] == names[1] == f"gcbc-{setting.checkpoint[:8]}-expert-scene-1"
    assert len(set(names)) == 1 + len(others)
    assert len({*names, _name(setting, config, ("1",), "length", "3")}) == 2 + len(others)
    assert names[3].endswith("-tasks-put-the-green-block-in-the-wooden-bowl")
    long = [_name(setting, config, ["münchen" * 40, end]) for end in ("a", "b")]
    assert long[0] != long[1]
    assert max(len(name.encode()) for name in long) <= 200


def test_a_folder_without_a_checkpoint_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused("evaluate", "--checkpoint", str(tmp_path)) == 2
    assert "no checkpoint in" in capsys.readouterr().err


def test_a_report_of_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused("report", str(tmp_path)) == 2
    assert "is neither a run" in capsys.readouterr().err
