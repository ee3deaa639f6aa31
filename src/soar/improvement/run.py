"""Folder of a run of improvement: its records, and where everything lies.

    RUN/
      run.json                 this module's `RunRecord`: configuration, scenes, rounds
      config.yaml              the whole configuration, for `--config`
      store/                   episode store of the collection
      evaluations/round-0/     success before anything: evaluation.json, trials.jsonl, videos/
      evaluations/round-1/     success of round 1's candidate, from the same starts
      subgoals/round-1/        subgoal generator fine-tuned in round 1, where it can be
      train/round-1/           policy trained in round 1: checkpoint, log.jsonl, state/
      report.html              made by `soar report RUN`

Round r collects with what was promoted before it, fine-tunes a subgoal generator, trains a policy, and evaluates both
together. Where trials of both policies are interleaved, as on real stations, round r > 1 has an
`evaluations/before-round-r/` as well. Runs of version 0.1 have `imagination/` instead of `subgoals/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from soar.errors import ConfigError
from soar.evaluation.results import MANIFEST, Evaluation, open_evaluation
from soar.promotion import latest_models, subgoals_folder
from soar.utils.config import flat, from_plain, to_plain
from soar.utils.files import Json, read_json, read_lines, write_json
from soar.utils.mirrors import begin, publish

Stage: TypeAlias = Literal["collect", "finetune", "fit", "evaluate", "decide", "done"]
"""Next stage of a round."""

_OLD_STAGES = {"teach": "finetune"}
"""Names of stages in runs of version 0.1, and today's."""
_FREE = ("workers", "stations")
"""Settings that may differ when a run goes on: they say how it is done, not what."""
_MOVED = {
    "outcomes": "hindsight.outcomes",
    "goals": "hindsight.goals",
    "sum_steps": "hindsight.sum_steps",
    "pace_m": "hindsight.min_motion_m",
    "imagined_goals": "hindsight.recorded_goals",
    "autonomous_share": "fit.autonomous_share",
    "from_scratch": "fit.from_scratch",
}
"""Settings of version 0.1, and where they are now."""


@dataclass(frozen=True)
class RoundRecord:
    """One round: the models it collected with, what it learned, and the decision."""

    RENAMED: ClassVar = {"imagination": "subgoals_checkpoint"}

    index: int
    """Number of the round, from 1."""
    stage: Stage = "collect"
    collected_with: str = ""
    """Id of the checkpoint that drove the robots."""
    candidate: str = ""
    """Id of the trained policy's checkpoint; of the one it collected with, where only the subgoal generator learned."""
    subgoals_checkpoint: str = ""
    """Id of the fine-tuned subgoal generator's checkpoint; empty where the one before stays."""
    promoted: bool | None = None
    """Whether the candidate took over; None until decided."""
    decision: str = ""
    """Reason of the decision, in one sentence."""
    query: Mapping[str, Json] = field(default_factory=dict)
    """Episodes it was trained on, as the fields of `soar.types.Query`."""
    store_version: int | None = None
    """Version of the store that the query was answered at."""
    mixture: Mapping[str, float] = field(default_factory=dict)
    """Share of each source among the training samples."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall-clock time of each stage [s], attempts that were interrupted included, unless by a kill."""


@dataclass(frozen=True)
class RunRecord:
    """Contents of `run.json`."""

    RENAMED: ClassVar = {"rounds_wanted": "rounds_requested"}

    title: str
    scenes: tuple[str, ...]
    """Names of the scenes that episodes are filed under."""
    rounds_requested: int
    started_s: float
    """Unix time of the start."""
    command: str = ""
    """Command line that repeats the run."""
    code_version: str = ""
    config_hash: str = ""
    config: Mapping[str, Json] = field(default_factory=dict)
    """Every setting, as plain data."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Models that the run began with, by role: "subgoals", "policy", and "teacher" where another policy collects."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall-clock time of stages outside the rounds, "prepare" and "evaluate" [s]."""
    rounds: tuple[RoundRecord, ...] = ()

    def with_round(self, record: RoundRecord) -> RunRecord:
        """Return the run with one round added, or replaced by its newer record."""
        others = [r for r in self.rounds if r.index != record.index]
        return replace(self, rounds=tuple(sorted([*others, record], key=lambda r: r.index)))


@dataclass(frozen=True)
class Run:
    """Paths of a run's folder, and readers of what they hold."""

    folder: Path
    source: Path | None = None
    """Folder of another run, whose episodes it learns from; None for its own."""

    @property
    def store(self) -> Path:
        """Folder of the episode store."""
        return (self.source or self.folder) / "store"

    @property
    def frames(self) -> Path:
        """Folder of the store's decoded frames."""
        return (self.source or self.folder) / "frames"

    @property
    def config(self) -> Path:
        """The whole configuration as YAML."""
        return self.folder / "config.yaml"

    def evaluation_folder(self, round: int) -> Path:
        """Folder of a candidate's evaluation; round 0 is before anything."""
        return self.folder / "evaluations" / f"round-{round}"

    def before_folder(self, round: int) -> Path:
        """Folder of the evaluation of the models in force, where it is interleaved with the round's candidate's."""
        return self.folder / "evaluations" / (f"before-round-{round}" if round > 1 else "round-0")

    def train_folder(self, round: int) -> Path:
        """Folder of `soar.training.fit.fit`, which ends as the round's policy checkpoint."""
        return self.folder / "train" / f"round-{round}"

    def subgoals_folder(self, round: int) -> Path:
        """Folder of the fine-tuning, which ends as the round's checkpoint of the subgoal generator."""
        return subgoals_folder(self.folder) / f"round-{round}"

    def steps(self, record: RunRecord, round: int) -> int:
        """Return the gradient steps that a round's policy is trained for; 0 where no setting says it."""
        path = self.train_folder(round) / "pace.json"  # by `soar.training.fit`, where time is short
        planned = read_json(path) if path.exists() else record.config.get("fit")
        return int(planned.get("steps") or 0) if isinstance(planned, dict) else 0

    def models_in_force(self, record: RunRecord, upto: int | None = None) -> tuple[str, str]:
        """Return policy and subgoal generator after a round, as `soar.registry` names them.

        They are those promoted last, or the first ones.

        Args:
            record: the run's record.
            upto: round whose own candidates count whether they were promoted or not; None for the current models.
        """
        rounds = [r.index for r in record.rounds if r.promoted and (upto is None or r.index < upto)]
        if upto is not None:
            rounds.append(upto)
        return latest_models(self.folder, rounds, record.models)

    def write(self, record: RunRecord) -> None:
        """Replace `run.json`, whole or not at all; for object storage it follows all that it names."""
        begin(self.folder)
        write_json(self.folder / "run.json", to_plain(record))
        publish(self.folder)

    def record(self) -> RunRecord:
        """Read `run.json`. Raises ConfigError: it is missing or damaged."""
        path = self.folder / "run.json"
        if not path.exists():
            raise ConfigError(f"{self.folder} is no run: it has no run.json")
        data = read_json(path)
        rounds = data.get("rounds") if isinstance(data, dict) else None
        for record in rounds if isinstance(rounds, list) else []:
            if isinstance(record, dict):
                _rename_stages(record)
        try:
            record = from_plain(RunRecord, data, path)
        except ConfigError as error:
            raise ConfigError(f"not a run of this version: {error}") from error
        if missing := {"policy", "subgoals"} - set(record.models):
            raise ConfigError(f"{path} is damaged: models: has no {', '.join(sorted(missing))}")
        return record

    def evaluations(self) -> dict[int, Evaluation]:
        """Return every candidate's evaluation by round, and the first one as round 0."""
        folders = {_number(p): p for p in (self.folder / "evaluations").glob("round-*")}
        return {
            r: open_evaluation(folders[r])
            for r in sorted(folders)
            if (folders[r] / MANIFEST).exists()
        }

    def compared_evaluations(self, record: RunRecord, round: int) -> tuple[Evaluation, Evaluation]:
        """Return the evaluations that decide a round: of the models in force, and of its candidate."""
        before = self.before_folder(round)
        if not (before / MANIFEST).exists():
            promoted = [r.index for r in record.rounds if r.promoted and r.index < round]
            before = self.evaluation_folder(max([0, *promoted]))
        return open_evaluation(before), open_evaluation(self.evaluation_folder(round))

    def train_logs(self) -> dict[int, list[dict[str, Json]]]:
        """Return the rows of the policies' training logs by round."""
        return _logs(self.folder / "train")

    def finetune_logs(self) -> dict[int, list[dict[str, Json]]]:
        """Return the rows of the subgoal generators' training logs by round."""
        return _logs(subgoals_folder(self.folder))


def changed_settings(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[str]:
    """Return the names of the settings that differ between two configurations, among those that both have."""
    before = {_MOVED.get(name, name): value for name, value in old.items()}
    flat_before, flat_after = flat(before), flat(new)
    return [
        name
        for name, value in flat_after.items()
        if name.split(".")[0] not in _FREE and flat_before.get(name, value) != value
    ]


def _rename_stages(record: dict[str, Json]) -> None:
    """Replace the stages' names of version 0.1 in a round's plain data; what has a wrong type stays as it is."""
    if isinstance(stage := record.get("stage"), str):
        record["stage"] = _OLD_STAGES.get(stage, stage)
    if isinstance(seconds := record.get("seconds"), dict):
        record["seconds"] = {_OLD_STAGES.get(k, k): v for k, v in seconds.items()}


def _logs(folder: Path) -> dict[int, list[dict[str, Json]]]:
    folders = [f for f in folder.glob("round-*") if f.name.count("-") == 1]
    logs = {_number(f): f / "log.jsonl" for f in folders}
    return {r: read_lines(logs[r]) for r in sorted(logs) if logs[r].exists()}


def _number(folder: Path) -> int:
    match = re.fullmatch(r"round-(\d+)", folder.name)
    if match is None:
        raise ConfigError(
            f"{folder} doesn't belong to a run: folders here are round-0, round-1, ..."
        )
    return int(match[1])
