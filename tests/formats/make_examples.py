"""How the examples in `made_by_975160d` were made. Kept for the record.

This is no test and no code of today's: it speaks commit 975160d's API, so it runs with that
commit's source and not with HEAD's. Names in here must stay that commit's, whatever is renamed
elsewhere. pytest doesn't collect it; mypy, and ruff's sorting of imports, leave it alone.

    git worktree add /tmp/old 975160d
    export PYTHONPATH=/tmp/old/src MUJOCO_GL=egl OMP_NUM_THREADS=1
    python tests/formats/make_examples.py FOLDER

FOLDER is made anew. Everything in it is named relative to it, so that it can be moved.
"""
# mypy: ignore-errors
# isort: skip_file

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from soar.board import Board, boards
from soar.clock import Clock
from soar.collect import CollectConfig, collect
from soar.crew import Models, Plan, Station
from soar.data.frames import Frames, build_frames
from soar.data.imagined import Imagined, repainted_goals
from soar.data.query import Query
from soar.desk import Endurance
from soar.evaluate.results import Setting, Trial
from soar.evaluate.runner import missing_batches
from soar.files import read_lines
from soar.fit_policy import Recipe, compact, debug, fit_policy, with_fit
from soar.fleet import Job, ModelNames, run_fleet
from soar.improve import ImproveConfig, Means, improve
from soar.policies.load import load_policy
from soar.practice.teach import TeachConfig, teach
from soar.proposer import UncertaintyProposer
from soar.robots.meter import MeteredRobot
from soar.run import RoundRecord, Run
from soar.simulation import FitSettings
from soar.stations import StationConfig
from soar.subgoals.corpus import WORDS
from soar.subgoals.look import CompactConfig as PainterConfig
from soar.subgoals.moments import Moments
from soar.subgoals.network import CompactNet as PainterNet
from soar.toy import INSTRUCTIONS, ToyPolicy, ToySubgoals, ToyVLM
from soar.vlm.compact_net import CompactConfig as EyesConfig
from soar.vlm.compact_net import CompactNet as EyesNet
from soar.vlm.questions import task_from_instruction

from soar import checkpoint as checkpoints
from soar.data.mixture import Mixture, Source
from soar.data.store import LanceStore, open_store
from soar.errors import RobotFault
from soar.policies.encoders import EncoderConfig
from soar.policies.gcbc import GCBCConfig
from soar.policies.lcbc import LCBCConfig
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.subgoals import compact as painting
from soar.types import Answer, Episode, EpisodeSummary, Image, Observation, Verdict
from soar.vlm import compact as eyes
from soar.vlm.labels import write_labels

RESOLUTION = 16
TASKS = tuple(task_from_instruction(i) for i in INSTRUCTIONS)
ENCODER = EncoderConfig("compact", widths=(4, 8), depths=(1, 1), dim=8, fine=4, gazes=3, detail=4)
SIZES = {"hidden": (8,), "pose_weight": 0.5, "gaze_weight": 0.15, "feel": 4}
WORDS_TO_FOLLOW = ("open the drawer", "move the red mug to the left")
QUESTIONS = (
    "Is the drawer open?",
    "Is the red mug on the left side of the table?",
    "Does it rain?",
)

FILES = {
    # docs/operations.md
    "arm1.yaml": """\
# arm1.yaml
robot: lab.widowx:connect         # package.module:function, returns a soar.interfaces.Robot
options: {port: /dev/ttyUSB0, camera: /dev/video0}   # its keyword arguments
tasks:
  - put the green block in the wooden bowl
  - remove the green block from inside the wooden bowl and put it on the table
box: {low: [0.156, -0.205, 0.03], high: [0.423, 0.283, 0.165]}   # metres, base frame
webhook: https://example.org/hook  # a JSON POST when a person is needed
""",
    "models.yaml": """\
# models.yaml: endpoints, so that five processes share them
vlm: chat:qwen2.5-vl@http://gpu:8000/v1
subgoals: compact
policy: runs/first                # a checkpoint; or a run: then the policy it promoted last, picked up between episodes
""",
    # docs/add-a-robot.md and examples/
    "own_robot.yaml": """\
# A station with a robot of one's own (own_robot.py). From this folder:
#   soar doctor --store /tmp/store --station own_robot.yaml --models toy_models.yaml
robot: own_robot:make
options: {seed: 1}
tasks:
  - move the green block to the left side
  - move the green block to the right side
box: {low: [0.156, -0.205, 0.03], high: [0.423, 0.283, 0.165]}
""",
    "toy_models.yaml": """\
# Models of a few lines that see only a green block; in earnest: compact, an endpoint, a folder.
vlm: python:soar.toy:ToyVLM
subgoals: python:soar.toy:ToySubgoals
policy: python:soar.toy:ToyPolicy
""",
    # every key of a station and of a models file, and docs/add-a-robot.md's limits
    "cups.yaml": """\
name: cups
robot: toy
options: {}
tasks:
  - stack the cups
  - open the drawer
questions: questions.yaml
box:
  low: [0.2, -0.1, 0.05]
  high: [0.4, 0.1, 0.15]
  max_step_m: 0.04
  max_turn_rad: 0.3
  sticky_steps: 3
  frozen_m: 0.03
  stuck_steps: 20
  asked_m: 0.006
  still_m: 0.003
seed: 4
realtime: true
process: false
timeout_s: 7.5
webhook: https://example.org/hook
""",
    "all_models.yaml": """\
vlm: systemone:MODEL@http://localhost:8000/v1#KEY
subgoals: runs/finished
policy: runs/finished
threshold: 0.7
""",
    # docs/add-a-vlm.md
    "questions.yaml": """\
stack the cups:
  question: Are the cups stacked?
  done_when: yes
  objects: [cups]
""",
    # examples/kitchen.yaml
    "kitchen.yaml": """\
# A scene of one's own. Try: soar sim sheet --scenes examples/kitchen.yaml
name: kitchen
table: kitchen
barriers: true
things:
  - {name: red mug, kind: cup, color: red}
  - {name: banana, kind: banana, color: yellow}
  - {name: white plate, kind: plate, color: white, scale: 1.1}
tasks:
  - {say: put the banana on the white plate, inside: [banana, white plate]}
  - {say: take the banana off the white plate and put it on the table, outside: [banana, white plate]}
  - {say: move the red mug to the left side, left: red mug}
  - {say: move the red mug to the right side, right: red mug}
""",
    # the runs' scene: one task, so that evaluations are short
    "mug.yaml": """\
name: mug
table: oak
things: [{name: red mug, kind: cup, color: red}]
tasks: [{say: move the red mug to the left, left: red mug}]
light: 0.9
camera: {fovy_deg: 50, jitter_m: 0.01}
""",
}


# What takes part ---------------------------------------------------------------------------------


class BreaksOnce(ToyRobot):
    """A motor fails in the 20th step."""

    steps = 0
    broken = False

    def execute(self, action: np.ndarray) -> np.ndarray:
        self.steps += 1
        self.broken = self.broken or self.steps == 20
        if self.broken:
            raise RobotFault("motor 3 reports an overload")
        return super().execute(action)

    def home(self) -> None:
        if self.broken:
            raise RobotFault("motor 3 reports an overload")
        super().home()

    def recover(self) -> None:
        self.broken = False


class MoodyPolicy(ToyPolicy):
    """Does nothing in its third episode, so that one fails."""

    name = "moody"
    episodes = 0

    def act(self, observations, goals, rng, *, noise=0.0):
        actions = super().act(observations, goals, rng, noise=noise)
        if self.episodes == 3:
            actions[:, :6] *= 0
        return actions

    def reset(self) -> None:
        self.episodes += 1


class UnsureVLM(ToyVLM):
    """Can't be read in its last look."""

    looks = 0

    def answer(self, images, questions):
        self.looks += 1
        replies = super().answer(images, questions)
        if self.looks == 6:
            return [[Answer(a.question, None, "perhaps") for a in reply] for reply in replies]
        return replies


class BlindVLM(ToyVLM):
    """Finds no block."""

    def answer(self, images, questions):
        return [[Answer(q, 0.05, "no") for q in asked] for asked in questions]


class GenerousVLM:
    """Says that the first episode went well, and the second didn't."""

    name = "generous"
    looks = 0

    def answer(self, images, questions):
        p = 0.9 if self.looks == 1 else 0.1
        self.looks += 1
        return [
            [Answer(q, 0.95 if "present" in q else p, "") for q in asked] for asked in questions
        ]


# Store, with its board; and decoded frames -------------------------------------------------------


def make_store() -> LanceStore:
    """Two stations: JPEG and PNG; success, failure, unknown; a fault; a verdict given later."""
    config = CollectConfig(
        Plan(2, 8), exploring=0.5, noise=0.5, overlap=False, round=2, config_hash="c0ffee",
        endurance=Endurance(recovery_pause_s=0.001),
    )  # fmt: skip
    toy = BreaksOnce(5)
    one = Station("arm1", SafeRobot(toy), TASKS, UncertaintyProposer(TASKS), "toy", "dev", 5, toy)
    models = Models(UnsureVLM(), MoodyPolicy(), ToySubgoals())
    store = open_store("store", create=True)
    collect([one], models, store, [Board("store", "arm1")], config, episodes=4)
    clock = Clock()
    arm = MeteredRobot(SafeRobot(ToyRobot(6)), clock)
    two = Station("arm2", arm, TASKS, UncertaintyProposer(TASKS), "arm2", "real", 6)
    models = Models(BlindVLM(), ToyPolicy(), ToySubgoals())
    pngs = open_store("store", codec="png")
    board = Board("store", "arm2")
    collect([two], models, pngs, [board], replace(config, round=0), episodes=1, clock=clock)
    board.want("pause")
    last = list(store.query())[-1]
    store.keep("before-the-person")
    word = Verdict("success", 1.0, last.verdict.question, "yes", "a person")
    store.set_verdict(last.id, word)
    write_labels(
        "files/labels.csv",
        {e.id: e.verdict.outcome == "success" for e in store.query()},
        {e.id: e for e in store.query()},
    )
    return store


def hashed(episode: Episode) -> str:
    """Of everything in it that is an array."""
    digest = hashlib.sha256()
    arrays = [episode.actions, episode.wanted, episode.images, episode.states, episode.times_s]
    arrays += [a for s in episode.subgoals for a in (np.array(s.step, np.int64), s.image)]
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def told(summary: EpisodeSummary) -> dict:
    """An episode's row, under names that don't depend on the code's."""
    p, v = summary.provenance, summary.verdict
    return {
        "id": summary.id,
        "instruction": summary.instruction,
        "length": summary.length,
        "verdict": [v.outcome, v.p_success, v.question, v.raw, v.judge],
        "where": [p.station, p.regime, p.scene, p.seed, p.started_s, p.round],
        "made by": [p.checkpoint, p.config_hash, p.code_version, p.exploration],
        "task": [
            p.proposal.task.instruction,
            p.proposal.task.question,
            p.proposal.task.success_answer,
            p.proposal.task.objects,
        ],
        "proposal": [p.proposal.reason, p.proposal.feasible, p.proposal.scores],
        "answers before": [[a.question, a.p_yes, a.raw] for a in p.answers_before],
        "answers after": [[a.question, a.p_yes, a.raw] for a in p.answers_after],
        "faults": p.faults,
        "truth": p.truth,
    }


def shown(board: Board) -> dict:
    """A station's place on the board."""
    s = board.status()
    return {
        "station": [s.station, s.scene, s.activity, s.doing],
        "times": [s.started_s, s.updated_s],
        "pid": s.pid,
        "counts": [s.episodes, s.dropped, s.faults],
        "missing": s.missing,
        "pace": [s.duty_cycle, s.late_ms],
        "events": [[e["time_s"], e["kind"], e["message"]] for e in board.events()],
        "wish": board.wish(),
    }


def about_store(store: LanceStore, before: int) -> dict:
    return {
        "identity": store.identity,
        "version": store.version,
        "version before the person": before,
        "history": {k: list(v) for k, v in store.history().items()},
        "episodes": [told(e) for e in store.query()],
        "hashes": {e.id: hashed(store.load(e.id)) for e in store.query()},
        "boards": {b.station: shown(b) for b in boards(store.path)},
    }


# Checkpoints -------------------------------------------------------------------------------------


def picture(size: int, k: int) -> Image:
    """Some picture."""
    y, x = np.mgrid[:size, :size]
    channels = (x * 7 + k * 31, y * 11 + k * 17, x * y + k * 5)
    return np.stack([c % 256 for c in channels], -1).astype(np.uint8)


def seen(size: int) -> list[Observation]:
    """Two observations."""
    states = np.linspace(-0.2, 0.4, 14, dtype=np.float32).reshape(2, 7)
    return [Observation(picture(size, k), states[k], float(k)) for k in range(2)]


def small(recipe: Recipe, kind: str = "gcbc") -> Recipe:
    """A recipe for a policy of three thousand parameters, the same on every machine."""
    if kind == "gcbc":
        policy = GCBCConfig(RESOLUTION, ENCODER, **SIZES)
    else:
        policy = LCBCConfig(RESOLUTION, ENCODER, context_dim=4, **SIZES)
    recipe = replace(recipe, policy=policy, fit=debug().fit)
    return with_fit(recipe, device="cpu", precision="fp32", ema_decay=0.9)


def make_checkpoints(frames: Frames) -> dict:
    source = Source("pretraining", frames, 1.0)
    fit_policy(small(compact()), [source], "made/gcbc")
    fit_policy(
        small(compact("lcbc"), "lcbc"), [source], "made/lcbc",
        start=checkpoints.load("made/gcbc"),
    )  # fmt: skip
    for kind in ("gcbc", "lcbc"):
        checkpoints.save(f"checkpoints/{kind}", checkpoints.load(f"made/{kind}"))
    torch.manual_seed(0)
    net = EyesNet(EyesConfig(RESOLUTION, width=8, dim=4))
    made = eyes.to_checkpoint(net, 1.25, {"corpus": {"seed": 1}})
    checkpoints.save("checkpoints/vlm", checkpoints.halved(made))
    net = PainterNet(
        PainterConfig(RESOLUTION, 24, width=4, wide=32, gazes=3, vector=4, foresee=True)
    )
    for p in net.parameters():  # what starts at zero would hide mistakes
        torch.nn.init.normal_(p, std=0.2)
    made = painting.to_checkpoint(net, {"corpus": {"seed": 1}})
    checkpoints.save("checkpoints/subgoals", checkpoints.halved(made))
    shutil.rmtree("made")
    return about_checkpoints()


def about_checkpoints() -> dict:
    """Who they are, and what they make of two pictures."""
    ids = {k: checkpoints.load(f"checkpoints/{k}").id for k in ("gcbc", "lcbc", "vlm", "subgoals")}
    rng = np.random.default_rng(0)
    goals = np.stack([picture(32, 2), picture(32, 3)])
    gcbc, lcbc = (load_policy(f"checkpoints/{k}", "cpu") for k in ("gcbc", "lcbc"))
    pointed = np.full((2, 2, 2), [[0.1, -0.4], [np.nan, np.nan]], np.float32)
    painter = painting.CompactSubgoals(
        checkpoints.load("checkpoints/subgoals"), device="cpu", precision="fp32"
    )
    vlm = eyes.CompactVLM.load("checkpoints/vlm")
    answers = vlm.answer([o.image for o in seen(32)], [QUESTIONS, QUESTIONS[:1]])
    foreseen = painter.foresee(seen(32), WORDS_TO_FOLLOW, torch.from_numpy(pointed))
    images = painter.generate(seen(32), WORDS_TO_FOLLOW, np.random.default_rng(0))
    return {
        "ids": ids,
        "gcbc": gcbc.act(seen(32), goals, rng).tolist(),
        "lcbc": lcbc.act(seen(32), WORDS_TO_FOLLOW, rng).tolist(),
        "vlm": [[a.p_yes for a in row] for row in answers],
        "vlm points": vlm.point([o.image for o in seen(32)], WORDS_TO_FOLLOW)[:, 0].tolist(),
        "subgoals now": foreseen.now.tolist(),
        "subgoals places": foreseen.places.tolist(),
        "subgoals log_p": foreseen.log_p.tolist(),
        "subgoals images": images.tobytes().hex(),
    }


# Training that was cut short ---------------------------------------------------------------------


class KilledError(Exception):
    """The power is gone."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """The batch of this step never comes."""
    batch = Mixture.__call__

    def dying(self: Mixture, i: int, size: int, rows: slice) -> dict:
        if i == step:
            raise KilledError
        return batch(self, i, size, rows)

    Mixture.__call__ = dying
    try:
        yield
    except KilledError:
        pass
    else:
        raise AssertionError("it lived")
    finally:
        Mixture.__call__ = batch


def make_training(frames: Frames) -> dict:
    """Six steps, of which five were logged and four saved; and what all six would have been."""
    source, recipe = Source("pretraining", frames, 1.0), small(debug())
    fit_policy(recipe, [source], "whole")
    whole = [row["loss"] for row in read_lines(Path("whole/log.jsonl"))]
    id = checkpoints.load("whole").id
    shutil.rmtree("whole")
    with killed_at(5):
        fit_policy(recipe, [source], "training")
    saved = checkpoints.load("training/state").provenance["step"]
    logged = [row["step"] for row in read_lines(Path("training/log.jsonl"))]
    return {"losses": whole, "saved": saved, "logged": logged, "id": id}


# Runs of improvement -----------------------------------------------------------------------------

CONFIG = ImproveConfig(
    scenes=("files/mug.yaml",), episodes=2, trials=2, policy="checkpoints/gcbc",
    subgoals="checkpoints/subgoals@10", workers=1,
)  # fmt: skip


def collect_in_scene(run: Run, this: RoundRecord, scene: str, policy: str, subgoals: str) -> None:
    """Two short episodes in small pictures."""
    stations = [StationConfig("mug-arm1", options={"scene": scene, "image_size": 48}, seed=3)]
    names = ModelNames("python:make_examples:GenerousVLM", subgoals, policy)
    config = CollectConfig(Plan(2, 5), round=this.index)
    run_fleet(stations, Job(run.store, names, config, episodes=CONFIG.episodes))


def some_moments(seed: int) -> Moments:
    """Noise, to have something to teach."""
    rng, n = np.random.default_rng(seed), 4
    return Moments(
        images=rng.integers(0, 256, (n, 24, 24, 3), np.uint8),
        points=rng.uniform(-1, 1, (n, 7, 2)).astype(np.float32),
        later=rng.uniform(-1, 1, (n, 5, 7, 2)).astype(np.float32),
        states=rng.uniform(0, 0.2, (n, 7)).astype(np.float32),
        words=rng.normal(size=(1, WORDS, 384)).astype(np.float16),
        rows=np.zeros(n, np.int64),
        sided=np.zeros(n, bool),
    )


def teach_a_little(store: LanceStore, queries: list[Query], subgoals: str, folder: Path) -> None:
    """Two steps. The state for resuming, done with, is left out, and the weights are halved."""
    start = checkpoints.load("checkpoints/subgoals")
    config = TeachConfig(steps=2, batch_size=4)
    teach(start, some_moments(0), some_moments(1), "taught", config)
    checkpoints.save(folder, checkpoints.halved(checkpoints.load("taught")))
    shutil.copy("taught/log.jsonl", folder)
    shutil.rmtree("taught")


def paint(frames: Frames, path: Path) -> Imagined:
    painter = painting.CompactSubgoals.load("checkpoints/subgoals", device="cpu")
    return repainted_goals(frames, painter.repaint, 0.5, 0, path)


def make_runs(frames: Frames) -> dict:
    """One is finished, with corrections and a taught imagination; one died in its training."""
    recipe = FitSettings(steps=6, batch_size=8, save_every=2).recipe(
        checkpoints.load("checkpoints/gcbc")
    )
    source = Source("pretraining", frames, 1.0, recipe.goals)
    finished, stopped = Run(Path("runs/finished")), Run(Path("runs/stopped"))
    means = Means(
        collect_in_scene, recipe, source, paint, teach_a_little, correct=lambda *_: [frames]
    )
    improve(finished, CONFIG, means, command="soar improve --out runs/finished")
    with killed_at(5):
        means = Means(collect_in_scene, recipe, source, paint)
        improve(
            stopped, replace(CONFIG, trials=1), means, command="soar improve --out runs/stopped"
        )
    return {run.folder.name: about_run(run) for run in (finished, stopped)}


def about_run(run: Run) -> dict:
    record, store = run.record(), open_store(run.store, read_only=True)
    evaluations, [this] = run.evaluations(), record.rounds
    asked = Query.from_dict(this.query) if this.query else None
    return {
        "run": [record.title, record.scenes, record.rounds_wanted, record.started_s],
        "command": [record.command, record.code_version, record.models],
        "round": [this.index, this.stage, this.promoted, this.decision],
        "ids": [this.collected_with, this.candidate, this.imagination],
        "mixture": this.mixture,
        "seconds": [record.seconds, this.seconds],
        "fitted on": [e.id for e in store.query(asked)] if asked else None,
        "in force": run.in_force(record),
        "its own": run.in_force(record, 1),
        "trials": {str(r): [trial(t) for t in e.trials] for r, e in evaluations.items()},
        "settings": {str(r): setting(e.setting) for r, e in evaluations.items()},
        "entropy": missing_batches(replace(evaluations[0], trials=()))[0].entropy,
        "history": {k: list(v) for k, v in store.history().items()},
        "hashes": {e.id: hashed(store.load(e.id)) for e in store.query()},
        "logged": {str(r): [row["step"] for row in rows] for r, rows in run.train_logs().items()},
    }


def trial(t: Trial) -> list:
    return [t.scene, t.instruction, t.seed, t.outcome, t.ever, t.lost, t.video, t.raw]


def setting(s: Setting) -> list:
    lengths = [s.trials, s.first_seed, s.subgoals_per_trial, s.steps_per_subgoal]
    return [s.checkpoint, s.policy, s.subgoals, s.tasks, *lengths]


# -------------------------------------------------------------------------------------------------


def make(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "files").mkdir(parents=True)
    with chdir(folder):
        for name, text in FILES.items():
            (Path("files") / name).write_text(text)
        store = make_store()
        frames = build_frames(store, Query(), RESOLUTION, "frames")
        known = {
            "store": about_store(store, store.version - 1),
            "frames": {
                "images": hashlib.sha256(frames.images.tobytes()).hexdigest(),
                "starts": frames.starts.tolist(),
            },
            "checkpoints": make_checkpoints(frames),
            "training": make_training(frames),
            "runs": make_runs(frames),
        }
        Path("expected.json").write_text(readable(known))


def readable(known: dict) -> str:
    """JSON with a line for each fact."""
    parts = [
        f'"{part}": {{\n'
        + ",\n".join(f' "{name}": {json.dumps(fact)}' for name, fact in facts.items())
        + "\n}"
        for part, facts in known.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    make(Path(sys.argv[1]))
