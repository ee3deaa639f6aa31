"""A whole run of improvement in simulation: models by name, simulated stations, demonstrations made when missing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.collect import CollectConfig
from soar.data.frames import Frames
from soar.data.imagined import Imagined, repainted_goals
from soar.data.mixture import Source
from soar.data.transforms import pictures_of, transforms_from
from soar.errors import ConfigError
from soar.fit_policy import Recipe
from soar.fleet import ModelNames, collector
from soar.improve import Collect, Correct, ImproveConfig, Means, Paint, Say, Teach, improve
from soar.live import LivePage
from soar.models import compact_subgoals, is_compact, policy_folder
from soar.narrator import Narrator
from soar.policies.gcbc import GCBCConfig
from soar.policies.load import config_from
from soar.practice.corrections import correct
from soar.practice.teach import TeachConfig, practise
from soar.pretrain import DemonstrationSet, demonstrations, demonstrations_folder
from soar.run import RoundRecord, Run, RunRecord
from soar.sim.scenes import load_scene
from soar.train import FitConfig

Labels: TypeAlias = Literal["corrections", "hindsight"]


@dataclass(frozen=True)
class FitSettings:
    """How the policy is co-trained in each round."""

    steps: int = 800
    """0: it stays as it is."""
    labels: Labels = "corrections"
    """What is learned in the robots' own frames: "corrections", what an able hand would have done there, or "hindsight",
    what was done where it went well, with later frames for goals (paper; also where the imagination isn't compact)."""
    batch_size: int = 128
    learning_rate: float = 2e-4
    save_every: int = 100

    def recipe(self, start: Checkpoint) -> Recipe:
        """How to fit a policy like `start`, with its augmentation."""
        return Recipe(
            config_from(start),
            pictures_of(transforms_from(start.transforms)),
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
class CollectSettings:
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
class SimulatedRun:
    """Everything that a run of improvement in simulation is told."""

    improve: ImproveConfig = field(default_factory=ImproveConfig)
    fit: FitSettings = field(default_factory=FitSettings)
    collect: CollectSettings = field(default_factory=CollectSettings)
    demonstrations: int = 1000
    """Of the *bridge* regime, which co-training keeps; made once, then shared by all runs."""
    teach: TeachConfig = field(default_factory=TeachConfig)
    """How the compact imagination learns from practice; another one stays as it is."""
    painted: float = 0.5
    """Share of all samples whose goal the compact imagination paints, told what came."""

    def __post_init__(self) -> None:
        if not 0 <= self.painted <= 1:
            raise ConfigError(f"the share of painted goals is {self.painted}; valid: from 0 to 1")


def pretraining(wanted: DemonstrationSet, recipe: Recipe, painted: float) -> Source:
    """Demonstrations, and for policies that reach images painted goals, which are kept beside them."""
    source = Source("pretraining", demonstrations(wanted), 1.0, recipe.goals)
    if not painted or not isinstance(recipe.policy, GCBCConfig):
        return source
    imagination = compact_subgoals()
    name = f"{wanted.episodes}-{wanted.resolution}-{imagination.name.split()[-1]}.npz"
    path = demonstrations_folder(wanted.first_seed) / "painted" / name
    goals = repainted_goals(source.frames, imagination.repaint, painted, wanted.first_seed, path)
    return replace(source, imagined=goals)


def improve_in_simulation(
    folder: str | Path,
    told: SimulatedRun,
    *,
    command: str = "",
    say: Say = lambda text: None,
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
    means = Means(_shown(told, say), teach=_taught(told))
    if told.fit.steps:
        recipe = told.fit.recipe(checkpoints.load(policy_folder(config.policy)))
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


def _taught(told: SimulatedRun) -> Teach | None:
    """Lessons for the compact imagination."""
    if not told.teach.steps or not is_compact(told.improve.subgoals):
        return None

    return partial(practise, config=told.teach, workers=told.improve.workers)


def _corrected(told: SimulatedRun, recipe: Recipe) -> Correct | None:
    """What a policy that reaches the compact imagination's pictures should have done."""
    reaches = isinstance(recipe.policy, GCBCConfig) and is_compact(told.improve.subgoals)
    if not reaches or told.fit.labels != "corrections":
        return None
    return partial(correct, resolution=recipe.policy.resolution, workers=told.improve.workers)


def _painted(told: SimulatedRun, recipe: Recipe) -> Paint | None:
    """Goals of the robots' own episodes, for policies that reach images."""
    if not told.painted or not isinstance(recipe.policy, GCBCConfig):
        return None

    def paint(frames: Frames, path: Path) -> Imagined:
        return repainted_goals(frames, compact_subgoals().repaint, told.painted, 0, path)

    return paint


def _shown(told: SimulatedRun, say: Say) -> Collect:
    """Collection with a line for every episode, and a page with what the stations see."""
    c = told.collect
    names = ModelNames(c.vlm, told.improve.subgoals, told.improve.policy, c.threshold)
    config = CollectConfig(told.improve.plan, c.exploring, c.noise)

    def collect(run: Run, record: RoundRecord, scene: str, policy: str, subgoals: str) -> None:
        live = LivePage(run.folder)
        say(f"watch it: {live.page.resolve().as_uri()}")
        with Narrator(told.improve.episodes) as narrator:
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
