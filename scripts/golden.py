"""The numbers that a refactoring mustn't change, of the code as it is now, as one JSON file.

`golden_975160d.py` says the same of the code at that commit, and `compare_golden.py` runs both. Everything is
seeded, on one CPU thread, and takes its models from `--weights`, so that two runs on one machine agree
bit for bit. Floating point numbers are written in hexadecimal, arrays as hashes.

    OMP_NUM_THREADS=1 python scripts/golden.py --weights src/soar/weights --out golden.json
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
from golden_common import INSTRUCTIONS, QUESTIONS, Json, digest, exact, run, run_in

import soar
from soar.checkpoint import Checkpoint
from soar.checkpoint import load as load_checkpoint
from soar.collection.collector import collect
from soar.collection.config import CollectionConfig
from soar.collection.status import StatusFolder
from soar.data.frame_cache import Frames
from soar.data.generated_goals import regenerated_goals
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.evaluation.envs import SimEvalEnv, make_sim_env
from soar.evaluation.expert_subgoals import ExpertFrames
from soar.evaluation.results import EvalSetting, Trial
from soar.evaluation.runner import EvalSpec, SubgoalSource, evaluate
from soar.improvement.cotraining import CoTrainConfig
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.finetune_subgoals import (
    FinetuneSubgoalsConfig,
    finetune_keypoints,
)
from soar.improvement.methods.corrections.keypoint_labels import keypoint_labels
from soar.improvement.methods.corrections.labels import correction_labels, correction_sources
from soar.policies.behavior_cloning import BehaviorCloning
from soar.policies.loading import load_policy
from soar.pretraining.clips import make_clip_corpus as make_clips
from soar.pretraining.demonstrations import record_session
from soar.pretraining.keypoint_samples import KeypointSamples, make_keypoint_samples
from soar.pretraining.vlm_corpus import make_vlm_corpus as make_looks
from soar.pretraining.weights import DemonstrationSet, demonstrations
from soar.rollout.models import Models
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import open_station, sim_stations
from soar.sim.scenes.catalog import load_scene
from soar.sim.world import World
from soar.subgoals.compact.generator import CompactSubgoalGenerator
from soar.tasks.grammar import parse_instruction, questions_of
from soar.tasks.question_file import tasks_from_instructions
from soar.tasks.questions import parse_question
from soar.tasks.success_detector import VLMSuccessDetector, verdict
from soar.training.fit import FitConfig
from soar.training.policy import compact, train_policy, with_fit
from soar.training.subgoals import SubgoalTrainConfig as SubgoalTraining
from soar.training.subgoals import train_compact_subgoals as train_subgoals
from soar.training.vlm import VLMTrainConfig as VLMTraining
from soar.training.vlm import train_compact_vlm as train_vlm
from soar.types import Episode, EpisodeSummary
from soar.vlm.compact.model import CompactVLM

STEPS = 20
"""Training steps of each model."""
FEW = 6
"""Those of what practice teaches, which starts from the packaged weights."""
BATCH = 16
PIXELS = 96
"""What all compact networks see."""
SCENE, SECOND_SCENE = "dev1", "dev2"
LOOKED_AT = (SCENE, SECOND_SCENE, "broad-3", "broad-7", "bridge-10")
"""Scenes of the fixed images: bowls, sides, drawers, cloths."""
LOOKS = 10
"""Images of each scene."""


@dataclass(frozen=True)
class Packaged:
    """The packaged models, each loaded from its own folder."""

    folder: Path

    def vlm(self) -> CompactVLM:
        """Eyes."""
        return CompactVLM.load(self.folder / "vlm")

    def subgoals(self) -> CompactSubgoalGenerator:
        """Imagination, to which the same eyes point."""
        return CompactSubgoalGenerator.load(self.folder / "subgoals", locator=self.vlm())

    def policy(self) -> BehaviorCloning:
        """The policy that reaches images."""
        return load_policy(self.folder / "gcbc")

    def words_policy(self) -> BehaviorCloning:
        """The policy that follows words."""
        return load_policy(self.folder / "lcbc")

    def checkpoint(self, role: str) -> Checkpoint:
        """To go on training from."""
        return load_checkpoint(self.folder / role)


def short(config: FitConfig, steps: int = STEPS) -> FitConfig:
    """The same optimisation, but of few and small steps, all of which are logged."""
    return replace(
        config, steps=steps, batch_size=BATCH, warmup_steps=5, log_every=1, save_every=steps
    )


def losses(weights: Path, work: Path) -> Json:
    """Twenty steps of each model from fresh weights, of data made on the spot."""
    return {
        **policy_losses(Packaged(weights), work),
        "vlm": vlm_losses(work / "vlm"),
        "subgoals": subgoal_losses(work / "subgoals"),
    }


def policy_losses(models: Packaged, work: Path) -> Json:
    """Both policies, of a few demonstrations; the one that reaches images is shown painted goals, too."""
    frames = demonstrations(DemonstrationSet(6, resolution=PIXELS, workers=1), work / "demos")
    goals = regenerated_goals(
        frames, models.subgoals().generate_from_futures, 0.5, 0, work / "goals.npz"
    )
    found: Json = {"demonstrations": frames_seen(frames), "painted goals": digest(goals.images)}
    for kind in ("gcbc", "lcbc"):
        recipe = compact(kind)
        recipe = replace(recipe, fit=short(recipe.fit))
        painted = goals if kind == "gcbc" else None
        source = Source("demonstrations", frames, 1.0, recipe.goals, generated_goals=painted)
        train_policy(recipe, [source], work / kind)
        found[kind] = run_in(work / kind)
    return found


def vlm_losses(work: Path) -> Json:
    """The compact eyes, calibrated on held-out images."""
    looks = make_looks(work / "looks", images=40, workers=1)
    config = VLMTraining(attention_weight=0.1, spot_cells=1.5)  # the recipe of 975160d
    config = replace(config, fit=short(config.fit), held_out=0.25)
    measured = train_vlm(work / "looks", work / "made", config)
    return {
        "images": digest(looks.images, looks.answers, looks.points, looks.questions),
        "questions": list(looks.words),
        **run_in(work / "made" / "fit"),
        "held out": exact(measured),
    }


def subgoal_losses(work: Path) -> Json:
    """Painter and foresight, of clips and of moments."""
    clips = make_clips(work / "clips", episodes=6, workers=1)
    moments = make_keypoint_samples(work / "moments", scenes=2, workers=1)
    config = SubgoalTraining()
    config = replace(config, fit=short(config.fit), held_out=0.2)
    train_subgoals(work / "clips", work / "made", config, keypoint_samples=moments)
    return {
        "clips": digest(clips.frames.images, clips.frames.states, clips.points, clips.words),
        "moments": moments_seen(moments),
        **run_in(work / "made"),
    }


def practice(weights: Path, work: Path) -> Json:
    """What a scene's episodes teach: moments, corrections, and a few steps from the packaged weights."""
    models = Packaged(weights)
    frames = Frames.from_episodes(some_episodes(SCENE, 8), PIXELS)
    reader = models.subgoals()
    moments = keypoint_labels(frames, reader, CorrectionsConfig())
    lessons = correction_labels(frames, reader, PIXELS, CorrectionsConfig())
    others = make_keypoint_samples(work / "others", scenes=2, workers=1, seed=50)
    config = FinetuneSubgoalsConfig(steps=FEW, batch_size=BATCH)
    finetune_keypoints(models.checkpoint("subgoals"), moments, others, work / "taught", config)
    start = models.checkpoint("gcbc")
    recipe = CoTrainConfig(steps=FEW, save_every=FEW).recipe(start)
    recipe = with_fit(recipe, batch_size=BATCH, log_every=1)
    sources = [Source("demonstrations", frames, 0.7), *correction_sources([lessons], 0.3)]
    train_policy(recipe, sources, work / "corrected", start=start)
    words = compact("lcbc")
    words = replace(words, fit=short(words.fit, FEW))
    train_policy(words, sources[:1], work / "words", start=start)
    return {
        "episodes": frames_seen(frames),
        "moments": moments_seen(moments),
        "corrections": frames_seen(lessons),
        "imagination": run_in(work / "taught"),
        "policy": run_in(work / "corrected"),
        "words policy": run_in(work / "words"),
    }


def some_episodes(scene: str, wanted: int) -> list[Episode]:
    """The scripted expert's first episodes in a scene."""
    episodes: list[Episode] = []
    for seed in count():
        episodes += record_session(load_scene(scene), seed)
        if len(episodes) >= wanted:
            break
    return episodes[:wanted]


def frames_seen(frames: Frames) -> Json:
    """Hashes of frames."""
    return {
        "count": [len(frames.episodes), len(frames)],
        "instructions": digest(np.array([e.instruction for e in frames.episodes])),
        "starts": digest(frames.starts),
        "images": digest(frames.images),
        "states": digest(frames.states),
        "actions": digest(frames.actions),
        "fingertips": None if frames.fingertips is None else digest(frames.fingertips),
    }


def moments_seen(moments: KeypointSamples) -> Json:
    """Hashes of moments."""
    return {
        "count": len(moments.images),
        "images": digest(moments.images),
        "places": digest(moments.points, moments.later, moments.states),
        "words": digest(moments.words, moments.rows, moments.sided),
    }


def evaluation(weights: Path, work: Path) -> Json:
    """Eight trials of the whole system, and two each of the words policy and with an expert's subgoals."""
    models = Packaged(weights)
    return {
        "system": trials(models.policy, models.subgoals, 4, work / "system"),
        "words": trials(models.words_policy, None, 1, work / "words"),
        "expert": trials(models.policy, ExpertFrames(), 1, work / "expert"),
    }


def trials(
    policy: Callable[[], BehaviorCloning], subgoals: SubgoalSource, each: int, folder: Path
) -> Json:
    """So many trials of each of a scene's first two tasks, all in lockstep, and the states they ended in."""
    scene = load_scene(SCENE)
    envs: list[SimEvalEnv] = []

    def env(name: str) -> SimEvalEnv:
        envs.append(make_sim_env([scene], name))
        return envs[-1]

    tasks = tuple((scene.name, t.instruction) for t in scene.tasks[:2])
    setting = EvalSetting("golden", "golden", "golden", tasks, each, 1_000_000, 10, 10)
    spec = EvalSpec(policy, subgoals, env)
    done = evaluate(spec, setting, folder, video_size=0)
    return {
        "trials": [trial_seen(t) for t in done.trials],
        "last states": [exact(b.world.state().tolist()) for b in envs],
        "last physics": [digest(b.world.snapshot().physics) for b in envs],
    }


def trial_seen(trial: Trial) -> Json:
    """How a trial ended."""
    return [trial.instruction, trial.seed, trial.outcome, trial.ever, list(trial.lost), trial.raw]


def collection(weights: Path, work: Path) -> Json:
    """Six episodes of two stations, each in its own scene, which propose, try, judge and store by themselves."""
    models = Packaged(weights)
    store = open_store(work / "store", create=True)
    vlm = models.vlm()
    loaded = Models(vlm, models.policy(), models.subgoals(), VLMSuccessDetector(vlm))
    configs = [*sim_stations(SCENE, 1, seed=3), *sim_stations(SECOND_SCENE, 1, seed=4)]
    stations = [open_station(c) for c in configs]
    status_folders = [StatusFolder(store.path, s.name) for s in stations]
    try:
        summary = collect(
            stations,
            loaded,
            store,
            status_folders,
            CollectionConfig(EpisodeConfig(10, 10), noise=0.5),
            episodes=6,
        )
    finally:
        for station in stations:
            station.robot.close()
    rows = sorted(store.query(), key=lambda r: (r.provenance.station, r.provenance.started_s))
    return {
        "tally": [summary.episodes, summary.dropped, summary.faults],
        "history": {k: list(v) for k, v in sorted(store.history().items())},
        "episodes": [episode_seen(row, store.load(row.id)) for row in rows],
    }


def episode_seen(row: EpisodeSummary, episode: Episode) -> Json:
    """All that is known of a stored episode but its id and when it was made."""
    made, judged = row.provenance, row.verdict
    assert made.proposal is not None
    return {
        "station": [made.station, made.regime, made.scene, made.seed],
        "instruction": row.instruction,
        "actions": digest(episode.actions, episode.commanded),
        "states": digest(episode.states, episode.times_s),
        "images": digest(episode.images),
        "subgoals": [[s.step, digest(s.image)] for s in episode.subgoals],
        "verdict": exact([judged.outcome, judged.p_success, judged.question, judged.raw]),
        "proposal": exact([made.proposal.reason, made.proposal.feasible, made.proposal.scores]),
        "before": exact([[a.question.text, a.p_yes] for a in made.answers_before]),
        "after": exact([[a.question.text, a.p_yes] for a in made.answers_after]),
        "exploration": exact(made.exploration),
        "truth": [made.truth, list(made.faults)],
    }


def verdicts(weights: Path, work: Path) -> Json:
    """Answers and verdicts on fixed images of several scenes, and P(yes) of very different questions on one."""
    vlm = Packaged(weights).vlm()
    found = {name: looked_at(vlm, name) for name in LOOKED_AT}
    world = World(load_scene(SCENE))
    world.reset(0)
    image = world.render()
    world.close()
    [answers] = vlm.answer([image], [[parse_question(q) for q in QUESTIONS]])
    places = vlm.point([image] * len(INSTRUCTIONS), [parse_instruction(i) for i in INSTRUCTIONS])
    return {
        **found,
        "questions": {a.question.text: exact([a.p_yes, a.raw]) for a in answers},
        "places": dict(zip(INSTRUCTIONS, exact(places.tolist()), strict=True)),
    }


def looked_at(vlm: CompactVLM, name: str) -> Json:
    """A scene placed by a few seeds: what is said of each image, and the verdicts, the image before being the past."""
    scene = load_scene(name)
    tasks = tasks_from_instructions([t.instruction for t in scene.tasks])
    world, images = World(scene), []
    for seed in range(LOOKS):
        world.reset(seed)
        images.append(world.render())
    world.close()
    asked = list(questions_of(tasks))
    looks = [{a.question: a for a in said} for said in vlm.answer(images, [asked] * len(images))]
    past = [None, *looks[:-1]]
    judged = [
        [verdict(task, now, vlm.name, before=then) for task in tasks]
        for now, then in zip(looks, past, strict=True)
    ]
    return {
        "questions": [q.text for q in asked],
        "images": [digest(image) for image in images],
        "p_yes": [exact([look[q].p_yes for q in asked]) for look in looks],
        "verdicts": [exact([[v.outcome, v.p_success] for v in row]) for row in judged],
    }


if __name__ == "__main__":
    run(
        {
            "losses": losses,
            "practice": practice,
            "evaluation": evaluation,
            "collection": collection,
            "verdicts": verdicts,
        },
        soar.__file__,
    )
