"""A finished run of one round, with a real store, real evaluations and a real log."""

import json

import numpy as np
import pytest

from soar.collection.status import StationStatus, StatusFolder
from soar.data.store.lance import open_store
from soar.evaluation.results import EvalSetting, Trial, add_trials, open_evaluation
from soar.evaluation.trials import video_name
from soar.improvement.run import RoundRecord, Run, RunRecord
from soar.robots.toy import ToyRobot
from soar.types import Episode, Outcome, Provenance, Subgoal, Verdict
from soar.utils.media import write_video

LEFT, RIGHT = "move the block to the left", "move the block to the right"
STEPS = 8


def episode(n: int, rng: np.random.Generator) -> Episode:
    robot = ToyRobot(n)
    actions = rng.normal(0, 0.01, (STEPS, 7)).astype(np.float32)
    observations = [robot.observe()]
    for action in actions:
        robot.execute(action)
        observations.append(robot.observe())
    truth = bool(rng.random() < 0.4)
    p = float(rng.random())
    outcome: Outcome = "unknown" if n == 3 else "success" if truth or p > 0.8 else "failure"
    return Episode(
        instruction=(LEFT, RIGHT)[n % 2],
        actions=actions,
        commanded=actions,
        images=np.stack([o.image for o in observations]),
        states=np.stack([o.state for o in observations]),
        times_s=np.array([o.time_s for o in observations]),
        subgoals=(Subgoal(observations[-1].image, 0), Subgoal(observations[0].image, 4)),
        verdict=Verdict(outcome, p, "Is it done?", "yes", "toy"),
        provenance=Provenance(
            station="arm-0",
            regime="soar",
            scene="toy",
            seed=n,
            started_s=1_700_000_000.0 + 30 * n,
            checkpoint="c0",
            round=1,
            truth=truth,
        ),
    )


def evaluation(run: Run, round: int, checkpoint: str, outcomes: str) -> None:
    """Write an evaluation with one letter, s or f, for each trial; the two tasks take turns."""
    folder = run.evaluation_folder(round)
    tasks = (("toy", LEFT), ("toy", RIGHT))
    setting = EvalSetting(checkpoint, "gcbc", "expert", tasks, len(outcomes) // 2, 100, 5, 20)
    open_evaluation(folder, setting)
    for n, letter in enumerate(outcomes):
        seed, task = divmod(n, 2)
        outcome: Outcome = "success" if letter == "s" else "failure"
        trial = Trial("toy", tasks[task][1], 100 + seed, outcome, ever=letter == "s")
        frames = [np.full((64, 64, 3), 40 * k, np.uint8) for k in range(5)]
        write_video(folder / video_name(trial.key), frames)
        trial = Trial(*trial.key, outcome, trial.ever, video=video_name(trial.key))
        add_trials(folder, [trial])


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("runs") / "toy")
    record = RunRecord(
        title="Scene <toy> & friends",
        scenes=("toy",),
        rounds_requested=1,
        started_s=1_700_000_000.0,
        command="soar improve --scene toy",
        code_version="0.1.0",
        config={"trials": 5},
        models={"vlm": "compact", "subgoals": "compact", "policy": "c0"},
        seconds={"evaluate": 60.0},
        rounds=(
            RoundRecord(
                1,
                "done",
                collected_with="c0",
                candidate="c1",
                promoted=True,
                decision="better on the same starts",
                query={"outcomes": ["success"], "rounds": [1]},
                store_version=13,
                mixture={"demonstrations": 0.8, "autonomous": 0.2},
                seconds={"collect": 600.0, "fit": 300.0, "evaluate": 60.0},
            ),
        ),
    )
    run.write(record)
    store = open_store(run.store, create=True)
    rng = np.random.default_rng(0)
    for n in range(12):
        store.append(episode(n, rng))
    status_folder = StatusFolder(run.store, "arm-0")
    status_folder.show(
        StationStatus("arm-0", "toy", "stopped", 1.7e9, 1.7e9, pid=1, duty_cycle=0.96)
    )
    status_folder.note("robot fault", "motor 3 reports an overload")
    status_folder.note("missing", "the <block> is gone", person=True)
    evaluation(run, 0, "c0", "sffffffffs")
    evaluation(run, 1, "c1", "ssssfsfsff")
    rows = [
        {"step": 100 * k, "loss": 1 / k, "samples_per_s": 900.0, "wait_share": 0.01}
        for k in range(1, 9)
    ]
    rows[-1]["validation_loss"] = 0.3
    folder = run.train_folder(1)
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return run
