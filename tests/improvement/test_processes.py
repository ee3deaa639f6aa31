"""A run of improvement in two processes, which train together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from soar.cli import main
from soar.evaluation.results import EvalSetting, Trial, add_trials, open_evaluation
from soar.improvement.cotraining import CoTrainConfig, CoTraining
from soar.improvement.methods.hindsight import Hindsight, HindsightConfig
from soar.improvement.rounds import Candidate, ImproveConfig, Stages, await_beginning, improve
from soar.improvement.run import Run
from soar.training.policy import debug, with_fit
from two_processes import assert_same_training, fill, training

pytestmark = pytest.mark.slow


def one_round(folder: Path, policy: Path) -> None:
    """Improve a policy, and note in a file which processes did what."""
    run = Run(folder)
    await_beginning(run)

    def noted(what: str) -> None:
        with (folder.parent / f"{folder.name}.txt").open("a") as file:
            file.write(f"{what} {os.environ.get('RANK', '0')}\n")

    def collect(run: Run, round: int, policy: str, subgoals: str) -> None:
        noted("collect")
        fill(run.store, "kitchen", round)

    def evaluate(candidates: Sequence[Candidate]) -> None:
        noted("evaluate")
        for candidate in candidates:
            setting = EvalSetting("id", "gcbc", "expert", (("kitchen", "go"),), 1, 1, 5, 20)
            open_evaluation(candidate.folder, setting)
            known = candidate.folder == run.evaluation_folder(0)
            trial = Trial("kitchen", "go", 1, "failure" if known else "success")
            add_trials(candidate.folder, [trial])

    config = with_fit(debug(), batch_size=16, device="cpu", precision="fp32")
    train = CoTraining(CoTrainConfig(), config, Hindsight(HindsightConfig(min_motion_m=0), 32))
    stages = Stages(("kitchen",), collect, evaluate, train=train)
    record = improve(run, ImproveConfig(policy=str(policy), subgoals="expert", episodes=4), stages)
    assert [r.promoted for r in record.rounds] == [True]
    noted("end")


def test_the_first_process_does_everything_and_both_train(tmp_path: Path) -> None:
    fill(tmp_path / "store")
    main(training(tmp_path / "store", tmp_path / "policy"))
    one_round(tmp_path / "one", tmp_path / "policy")
    launch = "-m torch.distributed.run --standalone --nproc-per-node 2"
    words = [sys.executable, *launch.split(), __file__, f"{tmp_path}/two", f"{tmp_path}/policy"]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=230
    )
    assert done.returncode == 0, done.stderr
    did = (tmp_path / "two.txt").read_text().splitlines()
    assert sorted(did) == ["collect 0", "end 0", "end 1", "evaluate 0", "evaluate 0"]
    folders = [Run(tmp_path / name).train_folder(1) for name in ("one", "two")]
    assert_same_training(*folders)


if __name__ == "__main__":
    one_round(Path(sys.argv[1]), Path(sys.argv[2]))
