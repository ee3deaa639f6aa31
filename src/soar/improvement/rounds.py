"""Rounds of improvement: evaluate, collect, learn, evaluate on the same starts, promote or keep.

Everything a restart needs lies in the run's folder: `run.json` says which stage a round is in, the store
how much was collected, and evaluations and training continue where they were. Each stage can be killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from soar import __version__
from soar.checkpoint import load as load_checkpoint
from soar.data.frame_cache import Frames, build_frames
from soar.data.generated_goals import GeneratedGoals, recorded_subgoals
from soar.data.idle_frames import drop_idle_frames
from soar.data.mixture import Source
from soar.data.relabel import Uniform
from soar.data.store.lance import LanceStore, open_store
from soar.errors import ConfigError
from soar.evaluation.protocol import sim_protocol
from soar.evaluation.results import Evaluation, compare
from soar.evaluation.runner import FIRST_SEED, evaluate
from soar.improvement.methods.corrections.labels import correction_sources
from soar.improvement.methods.corrections.planner import queries_by_scene
from soar.improvement.run import RoundRecord, Run, RunRecord
from soar.registry import policy_spec, subgoals_spec
from soar.rollout.station import EpisodeConfig
from soar.sim.scenes.catalog import load_scene
from soar.training.policy import PolicyTrainConfig, train_policy
from soar.types import Outcome, Query

CollectStage = Callable[[Run, RoundRecord, str, str, str], None]
"""Fill the run's store for one round: (run, round, scene, policy, subgoals), models as `soar.registry` names them."""
FinetuneStage = Callable[[LanceStore, Sequence[Query], str, Path], object]
"""Teach an imagination: (store, each scene's episodes, the imagination in force, the new one's folder).

Raises ConfigError: there is nothing to learn.
"""
CorrectionStage = Callable[[LanceStore, Sequence[Query], str, Path], Sequence[Frames]]
"""What the policy should have done: (store, each scene's episodes, the imagination in force, a folder for decoded frames).

Raises ConfigError: nothing is known of that.
"""
GoalStage = Callable[[Frames, Path], GeneratedGoals]
"""Goals of the robots' own episodes as the imagination would have painted what came; kept in that file."""
OnMessage = Callable[[str], None]
"""Tell a person what comes next, in a few words."""

_STAGES = {
    "collect": "the robots propose, try, and judge themselves",
    "teach": "the imagination learns where things are seen here",
    "fit": "co-training on demonstrations and the robots' own episodes",
    "evaluate": "success after, on the same starts",
    "decide": "promote or keep",
}


@dataclass(frozen=True)
class ImproveConfig:
    """What a run of improvement does. The defaults are the paper's, but for what helps here (docs/log.md)."""

    scenes: tuple[str, ...] = ("1",)
    """Names, or YAML files."""
    rounds: int = 1
    episodes: int = 400
    """Collected in each scene and round."""
    trials: int = 50
    """For each task, before and after."""
    policy: str = "gcbc"
    """What it begins with: a packaged policy's name or a checkpoint's folder."""
    subgoals: str = "compact"
    steps_per_subgoal: int | None = None
    """Of an episode's hundred; None: as many as suit `subgoals` (paper: 20)."""
    outcomes: tuple[Outcome, ...] = ("success",)
    """Verdicts of the episodes whose actions are imitated (paper: the VLM's successes); corrections take all."""
    autonomous_share: float = 0.3
    """Of the training samples; the rest are pretraining demonstrations (paper: 10x up-sampled, or 20 %)."""
    goals: Uniform = field(default_factory=lambda: Uniform(0, 12))
    """Hindsight goals of autonomous data."""
    sum_steps: int = 1
    """Consecutive autonomous actions added up into one (paper: 2; leaving pauses out does as much)."""
    pace_m: float = 0.015
    """Leave pauses out of autonomous episodes: frames less than so far [m] apart; 0 keeps all (paper)."""
    imagined_goals: float = 0.0
    """Share of autonomous samples whose goal is the imagined subgoal that was pursued (paper: none)."""
    from_scratch: bool = False
    """Train on the mixture from fresh weights, as the paper does, instead of going on from the policy."""
    workers: int = 2
    """Processes of an evaluation."""
    first_seed: int = FIRST_SEED
    """Of the evaluation's starts, the same before and after."""

    def __post_init__(self) -> None:
        if not self.scenes or min(self.rounds, self.episodes, self.trials, self.workers) < 1:
            raise ConfigError("scenes, rounds, episodes, trials and workers must be at least one")
        if not 0 < self.autonomous_share < 1:
            raise ConfigError(
                f"autonomous_share is {self.autonomous_share}; valid: between 0 and 1"
            )
        if self.pace_m < 0:
            raise ConfigError(f"pace_m is {self.pace_m}; valid: at least 0")
        _ = self.plan

    @property
    def scene_names(self) -> tuple[str, ...]:
        """What their episodes are filed under. Raises ConfigError."""
        return tuple(load_scene(s).name for s in self.scenes)

    @property
    def plan(self) -> EpisodeConfig:
        """Of each episode. Raises ConfigError."""
        return EpisodeConfig.of(
            self.steps_per_subgoal or subgoals_spec(self.subgoals).steps_per_subgoal
        )


@dataclass(frozen=True)
class Stages:
    """What a run of improvement works with."""

    collect: CollectStage
    """Fills the store; see `soar.collection.fleet`."""
    recipe: PolicyTrainConfig | None = None
    """How the policy is co-trained in each round; None: it stays as it is."""
    pretraining: Source | None = None
    """Demonstrations that co-training keeps; their weight is what the robots' data leaves."""
    paint: GoalStage | None = None
    """Paints goals of the robots' own episodes, beside the photographs, where these are imitated."""
    teach: FinetuneStage | None = None
    """Teaches the imagination; None leaves it as it is (paper)."""
    correct: CorrectionStage | None = None
    """Says what the policy should have done in the robots' own episodes; None: it imitates what went well (paper)."""


def improve(
    run: Run,
    config: ImproveConfig,
    means: Stages,
    *,
    command: str = "",
    say: OnMessage = lambda text: None,
) -> RunRecord:
    """Run all rounds, or what is left of them.

    Args:
        command: how a person would start this run again, for the report.
        say: told of each stage as it begins.

    Raises:
        ConfigError: the folder holds a run with another configuration.
    """
    record = _begin(run, config, command)
    began = time.monotonic()
    say(f"success before, {config.trials} trials a task")
    _evaluate(run, config, 0, str(policy_spec(config.policy).folder), config.subgoals)
    if "evaluate" not in record.seconds:
        record = replace(record, seconds={"evaluate": time.monotonic() - began})
        run.write(record)
    for index in range(1, config.rounds + 1):
        record = _round(run, record, index, config, means, say)
    return record


def _begin(run: Run, config: ImproveConfig, command: str) -> RunRecord:
    """The run's record: a new one, or the one in the folder if it has the same configuration."""
    plain = _plain(asdict(config))
    if (run.folder / "run.json").exists():
        record = run.record()
        if dict(record.config) != plain:
            changed = [k for k, v in plain.items() if record.config.get(k) != v]
            raise ConfigError(
                f"{run.folder} holds a run with other settings ({', '.join(changed)}); "
                "give the same ones to go on, or another folder"
            )
        return record
    record = RunRecord(
        title=f"Improvement in scene {', '.join(config.scene_names)}",
        scenes=config.scene_names,
        rounds_wanted=config.rounds,
        started_s=time.time(),
        command=command,
        code_version=__version__,
        config=plain,
        models={"policy": config.policy, "subgoals": config.subgoals},
    )
    run.write(record)
    return record


def _round(
    run: Run,
    record: RunRecord,
    index: int,
    config: ImproveConfig,
    means: Stages,
    say: OnMessage,
) -> RunRecord:
    """One round from the stage where it stands to its end."""
    policy, subgoals = run.in_force(record)
    incumbent = policy_spec(policy).folder
    this = next((r for r in record.rounds if r.index == index), None)
    this = this or RoundRecord(index, collected_with=load_checkpoint(incumbent).id)
    while this.stage != "done":
        began, stage = time.monotonic(), this.stage
        if (stage != "teach" or means.teach) and (stage != "fit" or means.recipe):
            say(f"round {index}: {_STAGES[stage]}")
        if stage == "collect":
            for scene in config.scenes:
                means.collect(run, this, scene, str(incumbent), subgoals)
            this = replace(this, stage="teach")
        elif stage == "teach":
            this = _teach(run, this, config, means, subgoals, say)
        elif stage == "fit":
            this = _fit(run, this, config, means, run.in_force(record, index)[1], incumbent)
        elif stage == "evaluate":
            _evaluate(run, config, index, *run.in_force(record, index))
            this = replace(this, stage="decide")
        else:
            this = _decide(run, record, this)
        this = replace(this, seconds={**this.seconds, stage: time.monotonic() - began})
        record = record.with_round(this)
        run.write(record)
    return record


def _teach(
    run: Run,
    this: RoundRecord,
    config: ImproveConfig,
    means: Stages,
    subgoals: str,
    say: OnMessage,
) -> RoundRecord:
    """Teach the imagination with all episodes, failures too, of this round and those before."""
    this = replace(this, stage="fit")
    if means.teach is None:
        return this
    folder, rounds = run.imagination_folder(this.index), tuple(range(1, this.index + 1))
    store = open_store(run.store, read_only=True)
    queries = queries_by_scene(store, Query(scenes=config.scene_names, rounds=rounds))
    try:
        means.teach(store, queries, subgoals, folder)
    except ConfigError as error:
        say(f"the imagination stays as it is: {error}")
        return this
    return replace(this, imagination=load_checkpoint(folder).id)


def _fit(
    run: Run,
    this: RoundRecord,
    config: ImproveConfig,
    means: Stages,
    subgoals: str,
    incumbent: Path,
) -> RoundRecord:
    """Co-train on demonstrations and on the robots' own episodes of this round and those before.

    Where these teach nothing, the policy stays, and unless the imagination has learned, the round ends.
    """
    given = means.pretraining
    if means.recipe is None or given is None:
        return _without_fit(this, "there is nothing that the imagination could learn from")
    store = open_store(run.store, read_only=True)
    query = Query(
        scenes=config.scene_names,
        outcomes=() if means.correct else config.outcomes,
        rounds=tuple(range(1, this.index + 1)),
        version=this.store_version or store.version,
    )
    try:
        if means.correct:
            # Where practice decoded them.
            cache = run.imagination_folder(this.index).parent / "frames"
            corrected = means.correct(store, queries_by_scene(store, query), subgoals, cache)
            own = correction_sources(corrected, config.autonomous_share)
        else:
            own = [_imitated(run, this.index, config, means, store, query)]
    except ConfigError as error:
        return _without_fit(this, str(error))
    sources = [replace(given, weight=1 - config.autonomous_share), *own]
    start = None if config.from_scratch else load_checkpoint(incumbent)
    train_policy(means.recipe, sources, run.train_folder(this.index), start=start)
    return replace(
        this,
        stage="evaluate",
        candidate=load_checkpoint(run.train_folder(this.index)).id,
        query=_plain(asdict(query)),
        store_version=query.version,
        mixture={s.name: s.weight for s in sources},
    )


def _imitated(
    run: Run,
    index: int,
    config: ImproveConfig,
    means: Stages,
    store: LanceStore,
    query: Query,
) -> Source:
    """What went well, with hindsight goals (paper, 4). Raises ConfigError: nothing did."""
    assert means.pretraining is not None
    if next(iter(store.query(query)), None) is None:
        raise ConfigError(f"no episode was judged a {' or '.join(config.outcomes)}")
    cache = run.folder / "frames"
    frames = build_frames(store, query, means.pretraining.frames.resolution, cache)
    goals = recorded_subgoals(store, frames, config.imagined_goals)
    if goals is None and means.paint:
        goals = means.paint(frames, cache / f"painted-{index}.npz")
    share = config.autonomous_share
    own = Source("autonomous", frames, share, config.goals, config.sum_steps, generated_goals=goals)
    return drop_idle_frames(own, config.pace_m) if config.pace_m else own


def _without_fit(this: RoundRecord, why: str) -> RoundRecord:
    """On to the evaluation where the imagination learned; else the round ends here."""
    if this.imagination:
        return replace(this, stage="evaluate", candidate=this.collected_with)
    return replace(this, stage="done", promoted=False, decision=f"kept the old policy: {why}")


def _evaluate(
    run: Run, config: ImproveConfig, index: int, policy: str, subgoals: str
) -> Evaluation:
    """Success of a policy and an imagination on the run's fixed starts."""
    team, setting = sim_protocol(
        policy,
        [load_scene(s) for s in config.scenes],
        trials=config.trials,
        subgoals=subgoals,
        first_seed=config.first_seed,
        plan=config.plan,
    )
    return evaluate(team, setting, run.evaluation_folder(index), workers=config.workers)


def _decide(run: Run, record: RunRecord, this: RoundRecord) -> RoundRecord:
    """Promote the candidate when it does better, on the same starts, than the policy in force."""
    evaluations = run.evaluations()
    last = max([0, *(r.index for r in record.rounds if r.promoted)])
    before, after = evaluations[last], evaluations[this.index]
    gain = compare(before, after).difference
    better = gain.value > 0
    decision = (
        f"{'promoted' if better else 'kept the old policy'}: "
        f"success {before.overall().value:.0%} -> {after.overall().value:.0%}, "
        f"paired difference {gain.value:+.0%} [{gain.low:+.0%}, {gain.high:+.0%}]"
    )
    return replace(this, stage="done", promoted=better, decision=decision)


def _plain(value: object) -> dict[str, object]:
    """As JSON would give it back: tuples as lists."""
    plain: dict[str, object] = json.loads(json.dumps(value))
    return plain
