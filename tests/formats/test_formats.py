"""What the version before wrote is opened, gone on with and reported.

`made_by_975160d/` holds one small example of each: an episode store with its board, decoded
frames, checkpoints, a training folder, runs of improvement, and the files that people write.
`make_examples.py` made them with commit 975160d's own code, and wrote into `expected.json` what
that code read back. Names in there are no names of code: whatever is called otherwise today is
read here into the same words.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soar import checkpoint as checkpoints
from soar.collection.config import CollectionConfig
from soar.collection.status import StatusFolder, status_folders
from soar.data.frame_cache import Frames, build_frames
from soar.data.generated_goals import GeneratedGoals, regenerated_goals
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.data.store.verify import verify
from soar.evaluation.results import EvalSetting, Trial, open_evaluation
from soar.evaluation.runner import missing_batches
from soar.experiments.simulated_run import evaluate_in_simulation
from soar.improvement.collecting import Amount, collect_round
from soar.improvement.cotraining import CoTrainConfig, CoTraining
from soar.improvement.methods.corrections.labels import correction_sources
from soar.improvement.methods.hindsight import Hindsight, HindsightConfig
from soar.improvement.rounds import ImproveConfig, Stages, improve
from soar.improvement.run import Run
from soar.policies.encoders import EncoderConfig
from soar.policies.gcbc import GCBCConfig
from soar.policies.loading import load_policy
from soar.report.page import write_report
from soar.robots.limits import Limits
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig, sim_stations, station_tasks
from soar.sim.scenes.catalog import load_scene
from soar.sim.scenes.spec import Inside, OnSide
from soar.subgoals.compact.generator import CompactSubgoalGenerator
from soar.tasks.grammar import parse_instruction
from soar.tasks.question_file import read_questions
from soar.tasks.questions import parse_question
from soar.training.policy import PolicyTrainConfig, debug, train_policy, with_fit
from soar.types import Episode, EpisodeSummary, Image, Observation, Query
from soar.utils.config import from_plain, load
from soar.utils.files import read_lines
from soar.vlm.compact.model import CompactVLM
from soar.vlm.labels import read_labels

MADE = Path(__file__).with_name("made_by_975160d")
EXPECTED: Mapping[str, Any] = json.loads((MADE / "expected.json").read_text())
RESOLUTION = 16
ENCODER = EncoderConfig(
    "compact", widths=(4, 8), depths=(1, 1), dim=8, fine=4, attention_points=3, detail=4
)
INSTRUCTIONS = ("open the drawer", "move the red mug to the left")
QUESTIONS = (
    "Is the drawer open?",
    "Is the red mug on the left side of the table?",
    "Does it rain?",
)
CONFIG = ImproveConfig(
    scenes=("files/mug.yaml",), episodes=2, trials=2, policy="checkpoints/gcbc",
    subgoals="checkpoints/subgoals@10", workers=1,
)  # fmt: skip
"""Of the run that is finished; of the one that died, with one trial instead of two."""


@pytest.fixture(autouse=True)
def _among_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy for every test. The examples name one another relative to their folder."""
    shutil.copytree(MADE, tmp_path / "made")
    monkeypatch.chdir(tmp_path / "made")


# Episode store, its board, and decoded frames ----------------------------------------------------


def plain(fact: object) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(fact))


def hashed(episode: Episode) -> str:
    """Of everything in it that is an array."""
    digest = hashlib.sha256()
    arrays = [episode.actions, episode.commanded, episode.images, episode.states, episode.times_s]
    arrays += [a for s in episode.subgoals for a in (np.array(s.step, np.int64), s.image)]
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def told(summary: EpisodeSummary) -> Any:
    """An episode's row in the words of `expected.json`."""
    p, v = summary.provenance, summary.verdict
    assert p.proposal is not None
    task = p.proposal.task
    return plain(
        {
            "id": summary.id,
            "instruction": summary.instruction,
            "length": summary.length,
            "verdict": [v.outcome, v.p_success, v.question, v.raw, v.judge],
            "where": [p.station, p.regime, p.scene, p.seed, p.started_s, p.round],
            "made by": [p.checkpoint, p.config_hash, p.code_version, p.exploration],
            "task": [task.instruction, task.question.text, task.success_answer, task.objects],
            "proposal": [p.proposal.reason, p.proposal.feasible, p.proposal.scores],
            "answers before": [[a.question.text, a.p_yes, a.raw] for a in p.answers_before],
            "answers after": [[a.question.text, a.p_yes, a.raw] for a in p.answers_after],
            "faults": p.faults,
            "truth": p.truth,
        }
    )


def shown(status_folder: StatusFolder) -> Any:
    """A station's status in the words of `expected.json`."""
    s = status_folder.status()
    return plain(
        {
            "station": [s.station, s.scene, s.activity, s.doing],
            "times": [s.started_s, s.updated_s],
            "pid": s.pid,
            "counts": [s.episodes, s.dropped, s.faults],
            "missing": s.missing,
            "pace": [s.duty_cycle, s.late_ms],
            "events": [[e["time_s"], e["kind"], e["message"]] for e in status_folder.events()],
            "wish": status_folder.command(),
        }
    )


def test_a_store_lists_its_episodes_with_all_that_is_known_of_them() -> None:
    known, store = EXPECTED["store"], open_store("store", read_only=True)
    assert (store.identity, store.version) == (known["identity"], known["version"])
    assert [told(e) for e in store.query()] == known["episodes"]
    assert [e.verdict.outcome for e in store.query(Query(scenes=("toy",), rounds=(2,)))] == [
        "success", "failure", "success", "unknown",
    ]  # fmt: skip


def test_a_stores_episodes_load_to_the_last_bit() -> None:
    store = open_store("store", read_only=True)
    assert {e.id: hashed(store.load(e.id)) for e in store.query()} == EXPECTED["store"]["hashes"]


def test_a_stores_history_counts_and_it_is_whole() -> None:
    store = open_store("store", read_only=True)
    assert plain(store.history()) == EXPECTED["store"]["history"]
    found = list(verify(store, workers=1))
    assert len(found) == len(EXPECTED["store"]["hashes"]) + EXPECTED["store"]["version"]
    assert not [f for f in found if f.problem]


def test_a_store_can_be_read_as_it_was_before_a_later_verdict() -> None:
    before = EXPECTED["store"]["version before the person"]
    store = open_store("store", read_only=True)
    then, now = (list(store.query(Query(version=v)))[-1] for v in (before, None))
    assert then.id == now.id
    assert (then.verdict.outcome, then.verdict.judge) == ("failure", "toy-vlm")
    assert (now.verdict.outcome, now.verdict.judge) == ("success", "a person")


def test_a_store_takes_more_episodes_and_later_verdicts() -> None:
    known, store = EXPECTED["store"], open_store("store")
    first, *_, unsure, _ = known["episodes"]
    added = store.append(store.load(first["id"]))
    store.set_verdict(unsure["id"], store.summary(first["id"]).verdict)
    assert store.version == known["version"] + 3  # new columns, an episode, a verdict
    assert hashed(store.load(added)) == hashed(open_store("store").load(added))
    assert sum(c.successes for c in store.history().values()) == 5
    assert not [f for f in verify(store, workers=1) if f.problem]


def test_the_board_beside_a_store_says_what_each_station_did() -> None:
    assert {b.station: shown(b) for b in status_folders("store")} == EXPECTED["store"]["boards"]


def frames_of_the_store() -> Frames:
    return build_frames(open_store("store", read_only=True), Query(), RESOLUTION, "frames")


def test_decoded_frames_are_found_again_and_not_decoded_anew() -> None:
    def files() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in Path("frames").glob("*/*.[nj]*")}

    before = files()
    frames = frames_of_the_store()
    assert files() == before
    assert hashlib.sha256(frames.images.tobytes()).hexdigest() == EXPECTED["frames"]["images"]
    assert frames.starts.tolist() == EXPECTED["frames"]["starts"]
    assert [e.id for e in frames.episodes] == [e["id"] for e in EXPECTED["store"]["episodes"]]


# Checkpoints -------------------------------------------------------------------------------------


def picture(size: int, k: int) -> Image:
    """Some picture, as in `make_examples.py`."""
    y, x = np.mgrid[:size, :size]
    channels = (x * 7 + k * 31, y * 11 + k * 17, x * y + k * 5)
    return np.stack([c % 256 for c in channels], -1).astype(np.uint8)


def seen() -> list[Observation]:
    """Two observations, as in `make_examples.py`."""
    states = np.linspace(-0.2, 0.4, 14, dtype=np.float32).reshape(2, 7)
    return [Observation(picture(32, k), states[k], float(k)) for k in range(2)]


def near(value: object, off: float = 1e-5) -> Any:
    """The same numbers, give or take what another processor's rounding makes of them."""
    return pytest.approx(np.array(value), rel=1e-5, abs=off)


@pytest.mark.parametrize("kind", ["gcbc", "lcbc", "vlm", "subgoals"])
def test_a_checkpoint_is_whole_and_known_by_its_id(kind: str) -> None:
    known = EXPECTED["checkpoints"]
    assert checkpoints.load(f"checkpoints/{kind}", kind).id == known["ids"][kind]


def test_a_policy_that_reaches_pictures_acts_as_it_did() -> None:
    policy, known = load_policy("checkpoints/gcbc", "cpu"), EXPECTED["checkpoints"]
    goals = np.stack([picture(32, 2), picture(32, 3)])
    actions = policy.act(seen(), goals, np.random.default_rng(0))
    assert policy.checkpoint_id == known["ids"]["gcbc"]
    assert actions == near(known["gcbc"], 1e-6)


def test_a_policy_that_follows_words_acts_as_it_did() -> None:
    actions = load_policy("checkpoints/lcbc", "cpu").act(
        seen(), INSTRUCTIONS, np.random.default_rng(0)
    )
    assert actions == near(EXPECTED["checkpoints"]["lcbc"], 1e-6)


def test_compact_eyes_answer_and_point_as_they_did() -> None:
    vlm, known = CompactVLM.load("checkpoints/vlm"), EXPECTED["checkpoints"]
    images = [o.image for o in seen()]
    questions = [parse_question(q) for q in QUESTIONS]
    answers = vlm.answer(images, [questions, questions[:1]])
    for row, expected in zip(answers, known["vlm"], strict=True):
        assert [a.p_yes for a in row] == near(expected)
    assert vlm.point(images, [parse_instruction(i) for i in INSTRUCTIONS])[:, 0] == near(
        known["vlm points"]
    )


def test_a_compact_imagination_foresees_and_paints_as_it_did() -> None:
    known = EXPECTED["checkpoints"]
    painter = CompactSubgoalGenerator(
        checkpoints.load("checkpoints/subgoals", "subgoals"), device="cpu", precision="fp32"
    )
    pointed = np.full((2, 2, 2), [[0.1, -0.4], [np.nan, np.nan]], np.float32)
    guesses = painter.predict_keypoints(seen(), INSTRUCTIONS, torch.from_numpy(pointed))
    assert guesses.current.numpy() == near(known["subgoals now"])
    assert guesses.keypoints.numpy() == near(known["subgoals places"])
    assert guesses.log_p.numpy() == near(known["subgoals log_p"])
    painted = painter.generate(
        seen(), [parse_instruction(i) for i in INSTRUCTIONS], np.random.default_rng(0)
    )
    before = np.frombuffer(bytes.fromhex(known["subgoals images"]), np.uint8)
    assert painted.shape == (2, RESOLUTION, RESOLUTION, 3)
    assert np.abs(painted.ravel().astype(int) - before).max() <= 1


def test_an_imagination_that_practice_taught_is_known_as_such() -> None:
    taught, before = "runs/finished/imagination/round-1", "checkpoints/subgoals"
    assert CompactSubgoalGenerator.load(taught, device="cpu").finetuned
    assert not CompactSubgoalGenerator.load(before, device="cpu").finetuned


# Training that was cut short ---------------------------------------------------------------------


def recipe_of_the_training() -> PolicyTrainConfig:
    """The debug preset, made smaller still, and the same on every machine."""
    policy = GCBCConfig(
        RESOLUTION, ENCODER, (8,), pose_weight=0.5, attention_weight=0.15, proprioception_dim=4
    )
    recipe = replace(debug(), policy=policy)
    return with_fit(recipe, device="cpu", precision="fp32", ema_decay=0.9)


def test_training_that_was_cut_short_goes_on_and_ends_as_if_it_hadnt_been() -> None:
    known, log = EXPECTED["training"], Path("training/log.jsonl")
    before = read_lines(log)
    assert [row["step"] for row in before] == known["logged"]
    source = Source("pretraining", frames_of_the_store(), 1.0)
    _, result = train_policy(recipe_of_the_training(), [source], "training")
    after = read_lines(log)
    saved = known["saved"]
    assert after[:saved] == before[:saved]
    assert result.step == len(after) == len(known["losses"])
    assert [row["loss"] for row in after] == near(known["losses"], 1e-4)
    assert checkpoints.load("training", "gcbc").provenance["step"] == result.step


# Runs of improvement -----------------------------------------------------------------------------


def trial(t: Trial) -> Any:
    return plain([t.scene, t.instruction, t.seed, t.outcome, t.ever, t.lost, t.video, t.raw])


def setting(s: EvalSetting) -> Any:
    lengths = [s.trials, s.first_seed, s.subgoals_per_trial, s.steps_per_subgoal]
    return plain([s.checkpoint, s.policy, s.subgoals, s.tasks, *lengths])


def about(run: Run) -> Any:
    """A run in the words of `expected.json`."""
    record, store = run.record(), open_store(run.store, read_only=True)
    evaluations, [this] = run.evaluations(), record.rounds
    asked = from_plain(Query, this.query, "run.json") if this.query else None
    facts = {
        "run": [record.title, record.scenes, record.rounds_requested, record.started_s],
        "command": [record.command, record.code_version, record.models],
        "round": [this.index, this.stage, this.promoted, this.decision],
        "ids": [this.collected_with, this.candidate, this.subgoals_checkpoint],
        "mixture": this.mixture,
        "seconds": [
            record.seconds,
            {"teach" if k == "finetune" else k: v for k, v in this.seconds.items()},
        ],
        "fitted on": [e.id for e in store.query(asked)] if asked else None,
        "in force": run.models_in_force(record),
        "its own": run.models_in_force(record, 1),
        "trials": {str(r): [trial(t) for t in e.trials] for r, e in evaluations.items()},
        "settings": {str(r): setting(e.setting) for r, e in evaluations.items()},
        "entropy": missing_batches(replace(evaluations[0], trials=()))[0].entropy,
        "history": {k: list(v) for k, v in store.history().items()},
        "hashes": {e.id: hashed(store.load(e.id)) for e in store.query()},
        "logged": {str(r): [row["step"] for row in rows] for r, rows in run.train_logs().items()},
    }
    return plain(facts)


def refuse(*_: object) -> Any:
    raise AssertionError("this was done before")


def contents(*folders: Path) -> dict[str, str]:
    """Hash of every file, locks left out: these are opened anew."""
    files = [p for f in folders for p in f.rglob("*") if p.is_file() and p.name != "lock"]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def recipe_of_the_runs() -> PolicyTrainConfig:
    settings = CoTrainConfig(steps=6, batch_size=8, save_every=2)
    return settings.recipe(checkpoints.load(CONFIG.policy))


@pytest.mark.parametrize("name", ["finished", "stopped"])
def test_a_run_says_what_happened_in_it(name: str) -> None:
    assert about(Run(Path("runs") / name)) == EXPECTED["runs"][name]


def test_a_finished_run_has_nothing_left_to_do() -> None:
    run = Run(Path("runs/finished"))
    record, before = run.record(), contents(run.folder)
    evaluate = partial(evaluate_in_simulation, CONFIG)
    stages = Stages(record.scenes, refuse, evaluate, finetune_subgoals=refuse)
    assert improve(run, CONFIG, stages) == record
    assert {k: v for k, v in contents(run.folder).items() if v != before.get(k)} == {}
    assert set(run.finetune_logs()) == {1}


def test_a_finished_training_on_corrections_has_nothing_left_to_do() -> None:
    run, start = Run(Path("runs/finished")), checkpoints.load(CONFIG.policy)
    folder, frames = run.train_folder(1), frames_of_the_store()
    before, recipe = contents(folder), recipe_of_the_runs()
    share = CoTrainConfig.autonomous_share
    demonstrations = Source("pretraining", frames, 1 - share, recipe.goals)
    sources = [demonstrations, *correction_sources([frames], share)]
    _, result = train_policy(recipe, sources, folder, start=start)
    assert (result.step, contents(folder)) == (6, before)


def test_collection_goes_on_where_the_runs_store_says() -> None:
    run = Run(Path("runs/stopped"))
    before = contents(run.store)
    models = ModelsConfig("no such model", CONFIG.subgoals, CONFIG.policy)
    stations = sim_stations(CONFIG.scenes[0], 1)
    collect_round(run, 1, stations, models, CollectionConfig(), Amount(CONFIG.episodes))
    assert contents(run.store) == before


def test_a_run_that_died_in_its_training_goes_on_to_its_end() -> None:
    run, known = Run(Path("runs/stopped")), EXPECTED["runs"]["stopped"]
    finished_stages = (run.store, run.evaluation_folder(0), run.folder / "frames")
    before, logged = contents(*finished_stages), run.train_logs()[1]
    recipe = recipe_of_the_runs()
    source = Source("pretraining", frames_of_the_store(), 1.0, recipe.goals)

    def paint(frames: Frames, share: float, path: Path) -> GeneratedGoals:
        return regenerated_goals(frames, refuse, share, 0, path)

    config = replace(CONFIG, trials=1)
    learned = HindsightConfig(generated_goals=0.5)  # what runs of that version had
    method = Hindsight(learned, recipe.policy.resolution, paint)
    train = CoTraining(CoTrainConfig(), recipe, method, source)
    evaluate = partial(evaluate_in_simulation, config)
    stages = Stages(run.record().scenes, refuse, evaluate, train=train)
    [done] = improve(run, config, stages).rounds
    kept = contents(*finished_stages)
    assert {k: v for k, v in kept.items() if "/_refs/tags/" not in k} == before
    assert (done.stage, done.collected_with) == ("done", known["ids"][0])
    assert done.candidate == checkpoints.load(run.train_folder(1), "gcbc").id
    assert done.mixture == pytest.approx({"pretraining": 0.7, "autonomous": 0.3})
    assert done.seconds["collect"] == known["seconds"][1]["collect"]
    after = run.train_logs()[1]
    assert after[: len(logged)] == logged
    assert [row["step"] for row in after] == [2, 4, 6]
    assert [t.key for t in run.evaluations()[1].trials] == [
        t.key for t in run.evaluations()[0].trials
    ]


def test_an_evaluation_that_was_cut_short_knows_what_is_left() -> None:
    folder = Run(Path("runs/finished")).evaluation_folder(1)
    trials = folder / "trials.jsonl"
    trials.write_bytes(trials.read_bytes()[:-10])
    evaluation = open_evaluation(folder, open_evaluation(folder).setting)
    known = EXPECTED["runs"]["finished"]
    first, second = known["trials"]["1"]
    assert [trial(t) for t in evaluation.trials] == [first]
    [left] = missing_batches(evaluation)
    assert [list(k) for k in left.keys] == [second[:3]]
    assert list(left.entropy) == known["entropy"]


def test_a_finished_run_has_a_report() -> None:
    page = write_report(Path("runs/finished"), Path("page.html")).read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        "Success", "Before and after", "Rounds", "Collection", "Verdicts",
        "What the subgoal generator learned", "Training", "Faults", "Provenance",
    ]  # fmt: skip
    assert page.count("data:video/mp4;base64,") == 3
    assert "the corrected action for each frame" in page
    for id in EXPECTED["runs"]["finished"]["ids"]:
        assert id in page


def test_a_run_that_died_has_a_report() -> None:
    page = write_report(Path("runs/stopped")).read_text()
    assert "The run isn&#39;t finished" in page
    assert "Collection" in page


# Files that people write -------------------------------------------------------------------------


def test_a_stations_file_is_read_as_it_was() -> None:
    box = Limits(low=(0.156, -0.205, 0.03), high=(0.423, 0.283, 0.165))
    assert StationConfig.read("files/arm1.yaml") == StationConfig(
        "arm1",
        "lab.widowx:connect",
        {"port": "/dev/ttyUSB0", "camera": "/dev/video0"},
        (
            "put the green block in the wooden bowl",
            "remove the green block from inside the wooden bowl and put it on the table",
        ),
        box=box,
        webhook="https://example.org/hook",
    )
    own = StationConfig.read("files/own_robot.yaml")
    assert (own.name, own.robot, own.options) == ("own_robot", "own_robot:make", {"seed": 1})
    assert (own.separate_process, own.keeps_period, own.scene_info.name) == (
        True,
        True,
        "own_robot",
    )


def test_every_key_of_a_stations_file_is_read_as_it_was() -> None:
    assert StationConfig.read("files/cups.yaml") == StationConfig(
        "cups",
        "toy",
        tasks=("stack the cups", "open the drawer"),
        questions=str(Path("files/questions.yaml")),
        box=Limits(
            (0.2, -0.1, 0.05), (0.4, 0.1, 0.15), max_step_m=0.04, max_turn_rad=0.3, sticky_steps=3,
            frozen_motion_m=0.03, stuck_steps=20, stuck_command_m=0.006, stuck_motion_m=0.003,
        ),
        seed=4,
        realtime=True,
        process=False,
        timeout_s=7.5,
        webhook="https://example.org/hook",
    )  # fmt: skip


def test_a_question_file_is_read_as_it_was() -> None:
    cups, drawer = station_tasks(StationConfig.read("files/cups.yaml"))
    assert read_questions("files/questions.yaml") == {"stack the cups": cups}
    assert (cups.question.text, cups.success_answer) == ("Are the cups stacked?", True)
    assert cups.objects == ("cups",)
    assert drawer.question.text == "Is the drawer open?"


def test_a_models_file_is_read_as_it_was_and_a_run_stands_for_what_it_promoted() -> None:
    assert load(ModelsConfig, "files/models.yaml") == ModelsConfig(
        "chat:qwen2.5-vl@http://gpu:8000/v1", "compact", "runs/first"
    )
    assert load(ModelsConfig, "files/toy_models.yaml") == ModelsConfig(
        "python:soar.toy:ToyVLM", "python:soar.toy:ToySubgoals", "python:soar.toy:ToyPolicy"
    )
    names = load(ModelsConfig, "files/all_models.yaml")
    assert (names.vlm, names.threshold) == (
        "systemone:MODEL@http://localhost:8000/v1#KEY",
        0.7,
    )
    now = names.with_promoted()
    assert [now.policy, now.subgoals] == EXPECTED["runs"]["finished"]["in force"]


def test_a_scenes_file_is_read_as_it_was() -> None:
    scene = load_scene("files/kitchen.yaml")
    assert (scene.name, scene.regime, scene.table.name, scene.barriers) == (
        "kitchen", "dev", "kitchen", True,
    )  # fmt: skip
    assert [(t.name, t.kind, t.color, t.scale) for t in scene.objects] == [
        ("red mug", "cup", "red", 1.0),
        ("banana", "banana", "yellow", 1.0),
        ("white plate", "plate", "white", 1.1),
    ]
    assert [t.goal for t in scene.tasks] == [
        Inside("banana", "white plate"),
        Inside("banana", "white plate", value=False),
        OnSide("red mug", "left"),
        OnSide("red mug", "right"),
    ]
    mug = load_scene("files/mug.yaml")
    assert (mug.light, mug.camera.fovy_deg, mug.camera.jitter_m) == (0.9, 50, 0.01)


def test_a_persons_labels_are_read_as_they_were() -> None:
    known = {e["id"]: e["verdict"][0] == "success" for e in EXPECTED["store"]["episodes"]}
    assert read_labels("files/labels.csv") == known


def test_the_examples_are_small() -> None:
    sizes = [os.path.getsize(p) for p in MADE.rglob("*") if p.is_file()]
    assert sum(sizes) < 1_500_000
