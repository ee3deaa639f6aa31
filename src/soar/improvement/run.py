"""A run of improvement as a folder: what happened, for a person and for a program that resumes it.

    RUN/
      run.json                 this module's `RunRecord`: config, scenes, rounds
      store/                   the episode store of its collection
      evaluations/round-0/     success before anything: evaluation.json, trials.jsonl, videos/
      evaluations/round-1/     success of round 1's candidate, on the same starts
      imagination/round-1/     the imagination that practice taught, where it could be taught
      train/round-1/           what `fit` writes: log.jsonl, state/, and round 1's candidate itself
      report.html              made by `soar report RUN`

Round r collects with what was promoted before it, teaches an imagination, fits a policy, and evaluates both together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from soar.errors import ConfigError
from soar.evaluation.results import MANIFEST, Evaluation, open_evaluation
from soar.registry import latest_models
from soar.utils.files import Json, read_json, read_lines, write_json

Stage: TypeAlias = Literal["collect", "teach", "fit", "evaluate", "decide", "done"]
"""What a round has to do next."""


@dataclass(frozen=True)
class RoundRecord:
    """One round: with what it collected, what came out, and what was decided."""

    index: int
    """From 1."""
    stage: Stage = "collect"
    collected_with: str = ""
    """Id of the checkpoint that drove the robots."""
    candidate: str = ""
    """Id of the checkpoint that was fitted; of the one it collected with, where only the imagination learned."""
    imagination: str = ""
    """Id of the imagination that was taught; empty: the one before stays."""
    promoted: bool | None = None
    """Whether the candidate took over; None until decided."""
    decision: str = ""
    """Why, in one sentence."""
    query: Mapping[str, Json] = field(default_factory=dict)
    """The episodes it was fitted on, as `soar.types.Query`'s fields."""
    store_version: int | None = None
    mixture: Mapping[str, float] = field(default_factory=dict)
    """Share of each source among the samples really drawn."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall-clock time of each finished stage."""


@dataclass(frozen=True)
class RunRecord:
    """What `run.json` holds."""

    title: str
    scenes: tuple[str, ...]
    """What their episodes are filed under."""
    rounds_wanted: int
    started_s: float
    """Unix time."""
    command: str = ""
    """How to make it again."""
    code_version: str = ""
    config_hash: str = ""
    config: Mapping[str, Json] = field(default_factory=dict)
    """Every setting, as plain data."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Role to model: "vlm", "subgoals", "policy" (the one it began with)."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall-clock time of what belongs to no round, such as the first evaluation."""
    rounds: tuple[RoundRecord, ...] = ()

    def with_round(self, record: RoundRecord) -> RunRecord:
        """The same run with one round added, or replaced by its newer record."""
        others = [r for r in self.rounds if r.index != record.index]
        return replace(self, rounds=tuple(sorted([*others, record], key=lambda r: r.index)))


@dataclass(frozen=True)
class Run:
    """A run's folder: where everything lies, and readers for it."""

    folder: Path

    @property
    def store(self) -> Path:
        """The episode store, for `soar.data.store.lance.open_store`."""
        return self.folder / "store"

    @property
    def report(self) -> Path:
        """The page `soar report` writes."""
        return self.folder / "report.html"

    def evaluation_folder(self, round: int) -> Path:
        """For `soar.evaluation.evaluate`; round 0 is before anything."""
        return self.folder / "evaluations" / f"round-{round}"

    def train_folder(self, round: int) -> Path:
        """For `soar.training.fit.fit`; afterwards it is the round's checkpoint."""
        return self.folder / "train" / f"round-{round}"

    def imagination_folder(self, round: int) -> Path:
        """For `soar.improvement.methods.corrections.finetune_subgoals`; afterwards it is the round's imagination."""
        return self.folder / "imagination" / f"round-{round}"

    def in_force(self, record: RunRecord, upto: int | None = None) -> tuple[str, str]:
        """Policy and imagination after a round, as `soar.registry` names them: those last promoted, or the first ones.

        `upto`: that round, whose own candidates count whether they were promoted or not; None: as it stands now.
        """
        rounds = [r.index for r in record.rounds if r.promoted and (upto is None or r.index < upto)]
        if upto is not None:
            rounds.append(upto)
        return latest_models(self.folder, rounds, record.models)

    def write(self, record: RunRecord) -> None:
        """Replace `run.json`, whole or not at all."""
        write_json(self.folder / "run.json", asdict(record))

    def record(self) -> RunRecord:
        """What `run.json` says. Raises ConfigError: it is missing or damaged."""
        path = self.folder / "run.json"
        if not path.exists():
            raise ConfigError(f"{self.folder} is no run: it has no run.json")
        raw = read_json(path)
        try:
            rounds = tuple(RoundRecord(**r) for r in raw["rounds"])
            return RunRecord(**{**raw, "scenes": tuple(raw["scenes"]), "rounds": rounds})
        except (TypeError, KeyError) as error:
            raise ConfigError(f"{path} is no run of this version: {error}") from error

    def evaluations(self) -> dict[int, Evaluation]:
        """Every evaluation there is, by round."""
        folders = {_number(p): p for p in (self.folder / "evaluations").glob("round-*")}
        return {
            r: open_evaluation(folders[r])
            for r in sorted(folders)
            if (folders[r] / MANIFEST).exists()
        }

    def train_logs(
        self, of: Literal["train", "imagination"] = "train"
    ) -> dict[int, list[dict[str, Json]]]:
        """Rows of every `log.jsonl`, by round: the policies', or the imaginations'."""
        folders = [f for f in (self.folder / of).glob("round-*") if f.name.count("-") == 1]
        logs = {_number(f): f / "log.jsonl" for f in folders}
        return {r: read_lines(logs[r]) for r in sorted(logs) if logs[r].exists()}


def _number(folder: Path) -> int:
    match = re.fullmatch(r"round-(\d+)", folder.name)
    if match is None:
        raise ConfigError(
            f"{folder} doesn't belong to a run: folders here are round-0, round-1, ..."
        )
    return int(match[1])
