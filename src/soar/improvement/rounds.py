"""Rounds of improvement: collect, learn, evaluate from the same starts, promote or keep.

The stages themselves are given (`Stages`), so that the same rounds run in simulation and on robots. A restart needs
nothing but the run's folder: `run.json` names each round's next stage, and every stage resumes by itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from annotated_types import Ge

from soar import __version__
from soar.checkpoint import load as load_checkpoint
from soar.data.store.lance import open_store, tag_version
from soar.errors import ConfigError, SoarError
from soar.evaluation.results import FIRST_SEED, compare
from soar.improvement.methods.method import CollectingMethod, NothingToLearnError, OwnEpisodes
from soar.improvement.run import RoundRecord, Run, RunRecord, changed_settings
from soar.policies.identity import policy_identity
from soar.promotion import promoted_models, trained_policy
from soar.registry import COMPACT, policy_spec
from soar.rollout.station import EpisodeConfig
from soar.rollout.station_config import episode_config
from soar.types import Outcome, Query
from soar.utils.config import check_ranges, content_hash, to_plain
from soar.utils.files import write_bytes, write_json
from soar.utils.hardware import is_main_process
from soar.utils.mirrors import begin
from soar.utils.yaml_files import dump


@dataclass(frozen=True)
class ImproveConfig:
    """Rounds of improvement. The defaults are the paper's, except for what helps here (docs/log.md)."""

    scenes: tuple[str, ...] = ("1",)
    """Names of the scenes."""
    rounds: Annotated[int, Ge(1)] = 1
    """Number of rounds."""
    episodes: Annotated[int, Ge(1)] = 400
    """Episodes collected in each scene and round."""
    trials: Annotated[int, Ge(1)] = 50
    """Trials of each task in an evaluation."""
    policy: str = "gcbc"
    """Policy to begin with: a packaged policy's name or a checkpoint's folder."""
    subgoals: str = COMPACT
    """Subgoal generator to begin with, as `soar.registry` names it."""
    steps_per_subgoal: int | None = None
    """Control steps for each subgoal; None for what suits the generator (paper: 20)."""
    workers: Annotated[int, Ge(1)] = 2
    """Processes of an evaluation."""
    first_seed: int = FIRST_SEED
    """Seed of the first start of every evaluation."""

    def __post_init__(self) -> None:
        if not self.scenes:
            raise ConfigError("improvement needs at least one scene")
        check_ranges(self)
        _ = self.episode_config

    @property
    def episode_config(self) -> EpisodeConfig:
        """Length of an episode. Raises ConfigError: the subgoals don't fill it."""
        return episode_config((), self.subgoals, self.steps_per_subgoal)


class Candidate(NamedTuple):
    """Models to evaluate, and the folder of the evaluation."""

    policy: str
    """Policy, as `soar.registry` names it."""
    subgoals: str
    """Subgoal generator, as `soar.registry` names it."""
    folder: Path


CollectStage: TypeAlias = Callable[[Run, int, str, str], None]
"""Fills the run's store for a round: (run, round, policy, subgoals), models as `soar.registry` names them."""
EvaluateStage: TypeAlias = Callable[[Sequence[Candidate]], object]
"""Evaluates models from the same starts, each into its own folder; resumes."""
FinetuneStage: TypeAlias = Callable[[OwnEpisodes, Path], object]
"""Fine-tunes the subgoal generator in force into a folder. Raises ConfigError: there is nothing to learn."""
OnMessage: TypeAlias = Callable[[str], None]
"""Shows a message to a person."""


@runtime_checkable
class TrainStage(Protocol):
    """Trains a policy; `soar.improvement.cotraining.CoTraining` does."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Verdicts of the episodes that it learns from; empty for all."""

    def __call__(self, own: OwnEpisodes, incumbent: str, out: Path) -> Mapping[str, float]:
        """Train into `out`, from the named policy, and return the share of each source. Raises NothingToLearnError."""


@dataclass(frozen=True)
class Stages:
    """The stages of a round."""

    scenes: tuple[str, ...]
    """Names of the scenes that episodes are filed under."""
    collect: CollectStage
    evaluate: EvaluateStage
    teacher: str = ""
    """Policy that collects in place of the one that learns, as `soar.registry` names it; "" for none."""
    interleaved: bool = False
    """Evaluate the models in force together with each candidate, instead of once before everything."""
    finetune_subgoals: FinetuneStage | None = None
    """None leaves the subgoal generator as it is (paper)."""
    train: TrainStage | None = None
    """None leaves the policy as it is."""
    preparation_s: float = 0.0
    """Time that was spent before the first stage, such as on demonstrations [s]."""


Timed = TypeVar("Timed", RunRecord, RoundRecord)
_POLL_S = 1.0
"""Interval in seconds at which a run's other processes look whether it trains."""
_MESSAGES = {
    "collect": "the robots propose tasks, try them, and judge themselves",
    "finetune": "fine-tuning the subgoal generator on own episodes",
    "fit": "co-training the policy on demonstrations and own episodes",
    "evaluate": "success from the same starts",
    "decide": "promote or keep",
}


def improve(
    run: Run,
    config: ImproveConfig,
    stages: Stages,
    *,
    command: str = "",
    on_message: OnMessage = lambda text: None,
) -> RunRecord:
    """Run all rounds, or what is left of them.

    Started by a launcher in several processes, the first one does everything, and the others take part in training.

    Args:
        run: the run's folder.
        config: configuration; its class may have more fields, which are recorded as well.
        stages: the stages.
        command: command line that repeats the run, for the report.
        on_message: called as each stage begins.

    Raises:
        ConfigError: the folder holds a run with another configuration.
    """
    if not is_main_process():
        return _take_part(run, config, stages)
    record = _begin(run, config, stages, command)
    if not stages.interleaved:
        began = time.monotonic()
        on_message(f"success before, {config.trials} trials of each task")
        policy, subgoals = record.models["policy"], record.models["subgoals"]
        named = _folder_or_name(policy)
        try:
            stages.evaluate([Candidate(named, subgoals, run.evaluation_folder(0))])
        except BaseException:
            _keep(run, _with_time(record, "evaluate", began))
            raise
        if not record.rounds:
            record = _with_time(record, "evaluate", began)
            run.write(record)
    for index in range(1, config.rounds + 1):
        record = _round(run, record, index, stages, on_message)
    return record


def await_beginning(run: Run) -> None:
    """Wait, in all of a launcher's processes but the first, until that one has prepared everything."""
    while not is_main_process() and not (run.folder / "run.json").exists():
        time.sleep(_POLL_S)


def _take_part(run: Run, config: ImproveConfig, stages: Stages) -> RunRecord:
    """Train together with the process that leads a run, whenever its record says that it does, until the last round."""
    done: set[tuple[int, str]] = set()
    while True:
        record = run.record()
        this = next((r for r in record.rounds if r.stage != "done"), None)
        if this is None and len(record.rounds) == config.rounds:
            return record
        if this is None or (this.index, this.stage) in done:
            time.sleep(_POLL_S)
            continue
        done.add((this.index, this.stage))
        policy, subgoals = run.models_in_force(record)
        with contextlib.suppress(ConfigError, NothingToLearnError):  # the first process decides
            if this.stage == "finetune" and stages.finetune_subgoals is not None:
                own = OwnEpisodes(run, this.index, _query(this, stages), subgoals)
                stages.finetune_subgoals(own, run.subgoals_folder(this.index))
            elif this.stage == "fit" and stages.train and getattr(stages.train, "shared", False):
                subgoals = run.models_in_force(record, this.index)[1]
                incumbent = _folder_or_name(policy)
                own = _learned_from(run, this, stages.train, stages, subgoals, incumbent)
                stages.train(own, incumbent, run.train_folder(this.index))


def _begin(run: Run, config: ImproveConfig, stages: Stages, command: str) -> RunRecord:
    """Return a new record, or the folder's if it has the same configuration."""
    plain = to_plain(config)
    if (run.folder / "run.json").exists():
        record = run.record()
        if changed := changed_settings(record.config, plain):
            raise ConfigError(
                f"{run.folder} holds a run with other settings ({', '.join(changed)}); "
                "give the same ones to go on, or another folder"
            )
        return record
    record = RunRecord(
        title=f"Improvement in scene {', '.join(stages.scenes)}",
        scenes=stages.scenes,
        rounds_requested=config.rounds,
        started_s=time.time(),
        command=command,
        code_version=__version__,
        config_hash=content_hash(plain),
        config=plain,
        models={
            "policy": promoted_models(config.policy)[0],
            "subgoals": promoted_models(config.subgoals)[1],
            **({"teacher": stages.teacher} if stages.teacher else {}),
        },
        seconds={"prepare": stages.preparation_s} if stages.preparation_s else {},
    )
    begin(run.folder)
    write_bytes(run.config, dump(plain).encode())
    run.write(record)
    return record


def _round(
    run: Run, record: RunRecord, index: int, stages: Stages, on_message: OnMessage
) -> RunRecord:
    """Run one round from its next stage to its end."""
    incumbent = _folder_or_name(run.models_in_force(record)[0])
    this = next((r for r in record.rounds if r.index == index), None)
    collector = _collector(run, stages, incumbent)
    this = this or RoundRecord(index, collected_with=policy_identity(collector).id)
    while this.stage != "done":
        began, stage = time.monotonic(), this.stage
        try:
            after = _stage(run, record, this, stages, on_message)
        except BaseException:
            _keep(run, record.with_round(_with_time(this, stage, began)))
            raise
        this = _with_time(after, stage, began)
        record = record.with_round(this)
        run.write(record)
    return record


def _stage(
    run: Run, record: RunRecord, this: RoundRecord, stages: Stages, on_message: OnMessage
) -> RoundRecord:
    """Perform a round's next stage; return the round with the stage after it."""
    policy, subgoals = run.models_in_force(record)
    incumbent, stage = _folder_or_name(policy), this.stage
    skipped = (stage == "finetune" and not stages.finetune_subgoals) or (
        stage == "fit" and not stages.train
    )
    if not skipped:
        on_message(f"round {this.index}: {_MESSAGES[stage]}")
    if stage == "collect":
        stages.collect(run, this.index, _collector(run, stages, incumbent), subgoals)
        return replace(this, stage="finetune")
    if stage == "finetune":
        return _finetune(run, this, stages, subgoals, on_message)
    if stage == "fit":
        return _fit(run, this, stages, run.models_in_force(record, this.index)[1], incumbent)
    if stage == "evaluate":
        _evaluate(run, record, this.index, stages)
        return replace(this, stage="decide")
    return _decide(run, record, this)


def _with_time(record: Timed, stage: str, began_s: float) -> Timed:
    """Add the time since `began_s` to a stage's duration, which earlier attempts at it are part of."""
    spent = record.seconds.get(stage, 0.0) + time.monotonic() - began_s
    return replace(record, seconds={**record.seconds, stage: spent})


def _keep(run: Run, record: RunRecord) -> None:
    """Write the record of an interrupted run on this machine, if that is possible; object storage gets the next one."""
    with contextlib.suppress(SoarError):
        write_json(run.folder / "run.json", to_plain(record))


def _collector(run: Run, stages: Stages, policy: str) -> str:
    """Return the name of the policy that collects: the teacher, or that in force unless the method says otherwise."""
    if stages.teacher:
        return stages.teacher
    method = getattr(stages.train, "method", None)
    return method.collecting(run, policy) if isinstance(method, CollectingMethod) else policy


def _finetune(
    run: Run, this: RoundRecord, stages: Stages, subgoals: str, on_message: OnMessage
) -> RoundRecord:
    """Fine-tune the subgoal generator on all episodes, failures included, of this round and those before."""
    this = replace(this, stage="fit")
    if stages.finetune_subgoals is None:
        return this
    folder, query = run.subgoals_folder(this.index), _query(this, stages)
    try:
        stages.finetune_subgoals(OwnEpisodes(run, this.index, query, subgoals), folder)
    except ConfigError as error:
        on_message(f"the subgoal generator stays as it is: {error}")
        return this
    return replace(this, subgoals_checkpoint=load_checkpoint(folder).id)


def _fit(run: Run, this: RoundRecord, stages: Stages, subgoals: str, incumbent: str) -> RoundRecord:
    """Train the policy on own episodes of this round and those before.

    Where nothing can be learned from them, the policy stays, and the round ends unless the subgoal generator learned.
    """
    if stages.train is None:
        return _without_training(this, incumbent, "the subgoal generator had nothing to learn from")
    own = _learned_from(run, this, stages.train, stages, subgoals, incumbent)
    version = own.query.version or 0
    out = run.train_folder(this.index)
    try:
        mixture = stages.train(own, incumbent, out)
    except NothingToLearnError as error:
        return _without_training(this, incumbent, str(error))
    candidate = policy_identity(trained_policy(out)).id
    tag_version(run.store, candidate, version)
    return replace(
        this,
        stage="evaluate",
        candidate=candidate,
        query=to_plain(own.query),
        store_version=version,
        mixture=mixture,
    )


def _learned_from(
    run: Run, this: RoundRecord, train: TrainStage, stages: Stages, subgoals: str, incumbent: str
) -> OwnEpisodes:
    """Return the own episodes that the policy learns from."""
    version = this.store_version or open_store(run.store, read_only=True).version
    query = replace(_query(this, stages), outcomes=train.outcomes, version=version)
    return OwnEpisodes(run, this.index, query, subgoals, incumbent)


def _folder_or_name(policy: str) -> str:
    """The folder of a checkpoint, packaged or not; the name of another policy."""
    spec = policy_spec(policy)
    return str(spec.folder) if spec.is_compact else policy


def _query(this: RoundRecord, stages: Stages) -> Query:
    return Query(scenes=stages.scenes, rounds=tuple(range(1, this.index + 1)))


def _without_training(this: RoundRecord, incumbent: str, reason: str) -> RoundRecord:
    """Go on to the evaluation where the subgoal generator learned; else end the round."""
    if this.subgoals_checkpoint:
        return replace(this, stage="evaluate", candidate=policy_identity(incumbent).id)
    return replace(this, stage="done", promoted=False, decision=f"kept the old policy: {reason}")


def _evaluate(run: Run, record: RunRecord, index: int, stages: Stages) -> None:
    """Evaluate the round's candidates, together with the models in force where trials are interleaved."""
    candidates = [Candidate(*run.models_in_force(record, index), run.evaluation_folder(index))]
    if stages.interleaved:
        before = Candidate(*run.models_in_force(record), run.before_folder(index))
        candidates.insert(0, before)
    stages.evaluate(candidates)


def _decide(run: Run, record: RunRecord, this: RoundRecord) -> RoundRecord:
    """Promote the candidate if it does better, from the same starts, than the models in force."""
    before, after = run.compared_evaluations(record, this.index)
    gain = compare(before, after).difference
    better = gain.value > 0
    decision = (
        f"{'promoted' if better else 'kept the old policy'}: "
        f"success {before.overall().value:.0%} -> {after.overall().value:.0%}, "
        f"paired difference {gain.value:+.0%} [{gain.low:+.0%}, {gain.high:+.0%}]"
    )
    return replace(this, stage="done", promoted=better, decision=decision)
