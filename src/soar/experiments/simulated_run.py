"""A whole run of improvement in simulation: models by name, simulated stations, demonstrations made when missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.collection.collector import CollectionConfig
from soar.collection.fleet import CollectionJob, ModelsConfig, run_fleet
from soar.data.frame_cache import Frames
from soar.data.generated_goals import GeneratedGoals, regenerated_goals
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.data.transforms import image_transforms, transforms_from
from soar.errors import ConfigError, SoarError
from soar.improvement.methods.corrections.config import CorrectionsConfig
from soar.improvement.methods.corrections.finetune_subgoals import (
    FinetuneSubgoalsConfig,
    finetune_subgoals,
)
from soar.improvement.methods.corrections.labels import make_corrections
from soar.improvement.rounds import (
    CollectStage,
    CorrectionStage,
    FinetuneStage,
    GoalStage,
    ImproveConfig,
    OnMessage,
    Stages,
    improve,
)
from soar.improvement.run import RoundRecord, Run, RunRecord
from soar.policies.gcbc import GCBCConfig
from soar.policies.loading import config_from
from soar.pretraining.keypoint_samples import other_scene_samples
from soar.pretraining.weights import DemonstrationSet, demonstrations, demonstrations_folder
from soar.registry import policy_spec, subgoals_spec
from soar.rollout.callbacks import Callback
from soar.rollout.console import ConsoleCallback
from soar.rollout.live_page import LivePage
from soar.rollout.station_config import sim_stations
from soar.sim.scenes.catalog import load_scene
from soar.subgoals.compact.generator import load_compact
from soar.training.fit import FitConfig
from soar.training.policy import PolicyTrainConfig
from soar.types import Query

Labels: TypeAlias = Literal["corrections", "hindsight"]


@dataclass(frozen=True)
class FitOptions:
    """How the policy is co-trained in each round."""

    steps: int = 800
    """0: it stays as it is."""
    labels: Labels = "corrections"
    """What is learned in the robots' own frames: "corrections", what an able hand would have done there, or "hindsight",
    what was done where it went well, with later frames for goals (paper; also where the imagination isn't compact)."""
    batch_size: int = 128
    learning_rate: float = 2e-4
    save_every: int = 100

    def recipe(self, start: Checkpoint) -> PolicyTrainConfig:
        """How to fit a policy like `start`, with its augmentation."""
        return PolicyTrainConfig(
            config_from(start),
            image_transforms(transforms_from(start.transforms)),
            fit=FitConfig(
                steps=self.steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                warmup_steps=min(100, self.steps // 10),
                save_every=self.save_every,
                log_every=min(50, self.save_every),
            ),
        )


@dataclass(frozen=True)
class CollectOptions:
    """How the robots collect."""

    stations: int = 8
    """Simulated arms, in lockstep. Each has its own layout, and more of them share each model's batch."""
    vlm: str = "compact"
    """Who proposes and judges."""
    threshold: float = 0.5
    """P(success) from which an episode is called success."""
    exploring: float = 0.5
    """Share of episodes whose actions are sampled from the policy's Gaussian."""
    noise: float = 0.5
    """Scale of its standard deviation in those."""
    seed: int = 0


@dataclass(frozen=True)
class SimulatedRunConfig:
    """Everything that a run of improvement in simulation is told."""

    improve: ImproveConfig = field(default_factory=ImproveConfig)
    fit: FitOptions = field(default_factory=FitOptions)
    collect: CollectOptions = field(default_factory=CollectOptions)
    demonstrations: int = 1000
    """Of the *bridge* regime, which co-training keeps; made once, then shared by all runs."""
    teach: FinetuneSubgoalsConfig = field(default_factory=FinetuneSubgoalsConfig)
    """How the compact imagination learns from practice; another one stays as it is."""
    painted: float = 0.5
    """Share of all samples whose goal the compact imagination paints, told what came."""

    def __post_init__(self) -> None:
        if not 0 <= self.painted <= 1:
            raise ConfigError(f"the share of painted goals is {self.painted}; valid: from 0 to 1")


def pretraining(wanted: DemonstrationSet, recipe: PolicyTrainConfig, painted: float) -> Source:
    """Demonstrations, and for policies that reach images painted goals, which are kept beside them."""
    source = Source("pretraining", demonstrations(wanted), 1.0, recipe.goals)
    if not painted or not isinstance(recipe.policy, GCBCConfig):
        return source
    imagination = load_compact()
    name = f"{wanted.episodes}-{wanted.resolution}-{imagination.name.split()[-1]}.npz"
    path = demonstrations_folder(wanted.first_seed) / "painted" / name
    goals = regenerated_goals(source.frames, imagination.repaint, painted, wanted.first_seed, path)
    return replace(source, generated_goals=goals)


def improve_in_simulation(
    folder: str | Path,
    told: SimulatedRunConfig,
    *,
    command: str = "",
    say: OnMessage = lambda text: None,
) -> RunRecord:
    """Evaluate, collect, learn, evaluate on the same starts; goes on where a run in `folder` stopped.

    `command`: how a person starts this again. `say`: told what comes next, in a few words.

    Raises:
        CheckpointError: a packaged model is missing.
        ConfigError: there is no such scene, or the folder holds a run with other settings.
    """
    config = told.improve
    for scene in config.scenes:
        load_scene(scene)  # a wrong name is told now, not after minutes of demonstrations
    means = Stages(_shown(told, say), teach=_taught(told))
    if told.fit.steps:
        recipe = told.fit.recipe(checkpoints.load(policy_spec(config.policy).folder))
        say(f"demonstrations for co-training: {told.demonstrations} of the bridge regime")
        wanted = DemonstrationSet(
            told.demonstrations, resolution=recipe.policy.resolution, workers=config.workers
        )
        kept = pretraining(wanted, recipe, told.painted)
        means = replace(
            means,
            recipe=recipe,
            pretraining=kept,
            correct=_corrected(told, recipe),
            paint=_painted(told, recipe),
        )
    elif means.teach is None:
        raise ConfigError("neither policy nor imagination learns: fit or teach needs steps above 0")
    return improve(Run(Path(folder)), config, means, command=command, say=say)


def _taught(told: SimulatedRunConfig) -> FinetuneStage | None:
    """Lessons for the compact imagination."""
    if not told.teach.steps or not subgoals_spec(told.improve.subgoals).is_compact:
        return None

    return partial(
        finetune_subgoals,
        config=told.teach,
        corrections=CorrectionsConfig(),
        others=other_scene_samples,
        workers=told.improve.workers,
    )


def _corrected(told: SimulatedRunConfig, recipe: PolicyTrainConfig) -> CorrectionStage | None:
    """What a policy that reaches the compact imagination's pictures should have done."""
    reaches = (
        isinstance(recipe.policy, GCBCConfig) and subgoals_spec(told.improve.subgoals).is_compact
    )
    if not reaches or told.fit.labels != "corrections":
        return None
    return partial(
        make_corrections, resolution=recipe.policy.resolution, config=CorrectionsConfig(), workers=told.improve.workers
    )


def _painted(told: SimulatedRunConfig, recipe: PolicyTrainConfig) -> GoalStage | None:
    """Goals of the robots' own episodes, for policies that reach images."""
    if not told.painted or not isinstance(recipe.policy, GCBCConfig):
        return None

    def paint(frames: Frames, path: Path) -> GeneratedGoals:
        return regenerated_goals(frames, load_compact().repaint, told.painted, 0, path)

    return paint


def _shown(told: SimulatedRunConfig, say: OnMessage) -> CollectStage:
    """Collection with a line for every episode, and a page with what the stations see."""
    c = told.collect
    names = ModelsConfig(c.vlm, told.improve.subgoals, told.improve.policy, c.threshold)
    config = CollectionConfig(told.improve.plan, c.exploring, c.noise)

    def collect(run: Run, record: RoundRecord, scene: str, policy: str, subgoals: str) -> None:
        live = LivePage(run.folder)
        say(f"watch it: {live.page.resolve().as_uri()}")
        with ConsoleCallback(told.improve.episodes) as narrator:
            fill = collector(
                names,
                c.stations,
                config,
                told.improve.episodes,
                c.seed,
                subscribers=[narrator, live],
            )
            fill(run, record, scene, policy, subgoals)

    return collect


def collector(
    names: ModelsConfig,
    stations: int = 2,
    config: CollectionConfig | None = None,
    episodes: int = 400,
    seed: int = 0,
    subscribers: Sequence[Callback] = (),
) -> Callable[[Run, RoundRecord, str, str, str], None]:
    """What `soar.improvement.rounds` takes: fills a run's store for one round in one simulated scene.

    It goes on where the store says, until that round has its episodes in that scene.
    """

    def collect_round(
        run: Run, record: RoundRecord, scene: str, policy: str, subgoals: str
    ) -> None:
        store = open_store(run.store, create=True)
        configs = sim_stations(scene, stations, seed)
        query = Query(scenes=(configs[0].scene_info.name,), rounds=(record.index,))
        done = sum(c.attempts for c in store.history(query).values())
        if done >= episodes:
            return
        job = CollectionJob(
            run.store,
            replace(names, policy=policy, subgoals=subgoals),
            replace(config or CollectionConfig(), round=record.index),
            episodes - done,
        )
        tally = run_fleet(configs, job, subscribers=subscribers)
        if tally.episodes < episodes - done:
            why = f"; broken: {', '.join(tally.broken)}" if tally.broken else ""
            raise SoarError(
                f"collection ended after {done + tally.episodes} of {episodes} episodes{why}"
            )

    return collect_round
