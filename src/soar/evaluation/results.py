"""Results of evaluations: trials, success rates with intervals, and the difference between two evaluations.

Success is judged at the END of a trial's control steps, as the paper judges the final frame. Whether the task was
done after any step is recorded beside it and never counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, cast
from zlib import crc32

from soar.errors import ConfigError
from soar.types import Outcome
from soar.utils.config import from_plain
from soar.utils.files import Json, append_lines, read_json, read_lines, write_json
from soar.utils.mirrors import publish_if_reachable
from soar.utils.statistics import Interval, mcnemar, paired_bootstrap, wilson

MANIFEST = "evaluation.json"
TRIALS = "trials.jsonl"
FIRST_SEED = 1_000_000
"""First seed of evaluation starts, far from the seeds of demonstrations and of stations."""


class TrialKey(NamedTuple):
    """Start of a trial: the same key is the same initial state for every checkpoint."""

    scene: str
    instruction: str
    seed: int

    @property
    def entropy(self) -> tuple[int, int]:
        """Entropy of the random numbers that belong to this start."""
        return self.seed, crc32(f"{self.scene}: {self.instruction}".encode())


@dataclass(frozen=True)
class Trial:
    """One attempt at a task from one start."""

    scene: str
    instruction: str
    seed: int
    """Seed of the start: with scene and instruction it determines the initial state."""
    outcome: Outcome
    """Outcome at the end of the trial. "unknown" enters no rate, and the trial is repeated."""
    ever: bool | None = None
    """Whether the task was done after any step; None where this isn't known (real robots)."""
    lost: tuple[str, ...] = ()
    """Names of the objects that had left the table at the end."""
    video: str = ""
    """Path of the video inside the evaluation's folder; empty when none was recorded."""
    raw: str = ""
    """The judge's own words, where a person or a model judged."""
    person: Outcome | None = None
    """Verdict of the person at a real robot; None if not asked."""
    detector: Outcome | None = None
    """Verdict of a real robot's success detector; None without one. `outcome` is the person's or the detector's."""

    @property
    def key(self) -> TrialKey:
        """The start."""
        return TrialKey(self.scene, self.instruction, self.seed)


@dataclass(frozen=True)
class EvalSetting:
    """Policy, tasks and episode length of an evaluation.

    Two evaluations are comparable where their trials begin from the same starts and last equally long.
    """

    checkpoint: str
    """Id of the policy's checkpoint."""
    policy: str
    """Kind of the checkpoint: "gcbc", "lcbc"..."""
    subgoals: str
    """Source of subgoals: "expert", "compact"..., or "none" for a language-conditioned policy."""
    tasks: tuple[tuple[str, str], ...]
    """(scene, instruction) of each task."""
    trials: int
    """Number of trials of each task."""
    first_seed: int
    """Seed of the first start of each task; the others follow."""
    subgoals_per_trial: int
    steps_per_subgoal: int
    details: Mapping[str, Json] = field(default_factory=dict)
    """Further provenance: checkpoint folder, code version, judge."""
    duration_s: float | None = None
    """Duration of a trial in seconds, on stations that set one (`soar.rollout.station.EpisodeConfig`)."""

    @property
    def steps_per_trial(self) -> int:
        """Length of a trial in control steps, where `duration_s` doesn't say it."""
        return self.subgoals_per_trial * self.steps_per_subgoal

    @property
    def scenes(self) -> tuple[str, ...]:
        """Distinct names of the scenes."""
        return tuple(dict.fromkeys(scene for scene, _ in self.tasks))


@dataclass(frozen=True)
class Evaluation:
    """Trials of one policy in some scenes."""

    folder: Path
    setting: EvalSetting
    trials: tuple[Trial, ...]

    @property
    def finished(self) -> bool:
        """Whether every task has all its trials judged."""
        counts = Counter((t.scene, t.instruction) for t in self.trials if t.outcome != "unknown")
        return all(counts[task] >= self.setting.trials for task in self.setting.tasks)

    def by_task(self) -> dict[tuple[str, str], Interval]:
        """Return the success rate with its 95 % interval for each (scene, instruction)."""
        return {
            task: rate([t for t in self.trials if (t.scene, t.instruction) == task])
            for task in self.setting.tasks
        }

    def by_scene(self) -> dict[str, Interval]:
        """Return the success rate with its 95 % interval for each scene, over all its tasks (paper, Figure 5)."""
        return {
            scene: rate([t for t in self.trials if t.scene == scene])
            for scene in self.setting.scenes
        }

    def by_verb(self) -> dict[str, Interval]:
        """Return the success rate with its 95 % interval by the instruction's first word."""
        verbs = dict.fromkeys(instruction.split()[0] for _, instruction in self.setting.tasks)
        return {
            verb: rate([t for t in self.trials if t.instruction.split()[0] == verb])
            for verb in verbs
        }

    def overall(self) -> Interval:
        """Return the success rate over all trials."""
        return rate(self.trials)


@dataclass(frozen=True)
class Comparison:
    """Two evaluations on the starts that they share."""

    before: Evaluation
    after: Evaluation
    pairs: tuple[tuple[Trial, Trial], ...]
    """Pairs of trials from the same start, before and after, both judged."""

    @property
    def outcomes(self) -> tuple[list[bool], list[bool]]:
        """Success before and after, pair by pair."""
        return (
            [b.outcome == "success" for b, _ in self.pairs],
            [a.outcome == "success" for _, a in self.pairs],
        )

    @property
    def difference(self) -> Interval:
        """Success rate after minus before, with a 95 % bootstrap interval, stratified by task."""
        before, after = self.outcomes
        return paired_bootstrap(
            before, after, [f"{b.scene}: {b.instruction}" for b, _ in self.pairs]
        )

    @property
    def p_value(self) -> float:
        """p of McNemar's exact two-sided test."""
        return mcnemar(*self.outcomes)

    def by_task(self) -> dict[tuple[str, str], Comparison]:
        """Return the comparison of each (scene, instruction) alone."""
        tasks = dict.fromkeys((b.scene, b.instruction) for b, _ in self.pairs)
        return {
            task: replace(
                self, pairs=tuple(p for p in self.pairs if (p[0].scene, p[0].instruction) == task)
            )
            for task in tasks
        }


def compare(before: Evaluation, after: Evaluation) -> Comparison:
    """Pair two evaluations by start.

    Raises:
        ConfigError: they share no start that was judged in both, or their episodes differ in length.
    """
    for name, unit in (("steps_per_trial", "control steps"), ("duration_s", "s")):
        one, two = getattr(before.setting, name), getattr(after.setting, name)
        if one != two:
            raise ConfigError(
                f"these evaluations can't be compared: a trial lasts {one} and {two} {unit}"
            )
    later = {t.key: t for t in after.trials if t.outcome != "unknown"}
    judged = [t for t in before.trials if t.outcome != "unknown"]
    pairs = tuple((t, later[t.key]) for t in judged if t.key in later)
    if not pairs:
        raise ConfigError(
            f"{before.folder} and {after.folder} share no judged start: evaluate both on the same "
            f"scenes ({before.setting.scenes} and {after.setting.scenes}) with the same seeds"
        )
    return Comparison(before, after, pairs)


def rate(trials: Sequence[Trial]) -> Interval:
    """Return the success rate of the judged trials, with its 95 % Wilson interval."""
    judged = [t for t in trials if t.outcome != "unknown"]
    return wilson(sum(t.outcome == "success" for t in judged), len(judged))


def open_evaluation(folder: str | Path, setting: EvalSetting | None = None) -> Evaluation:
    """Read an evaluation's folder; with a `setting`, begin it, or continue it if the setting agrees.

    Only the number of trials may differ from the stored setting, and tasks may be added: an evaluation can be extended.

    Raises:
        ConfigError: there is no evaluation, it is damaged, or it was made with another setting.
    """
    folder = Path(folder)
    known = None
    if setting is None or (folder / MANIFEST).exists():
        known = from_plain(EvalSetting, read_json(folder / MANIFEST), folder / MANIFEST)
        if setting is not None:
            _check_same(folder, known, setting)
    if setting is not None and setting != known:  # an equal one stays as it was written
        write_json(folder / MANIFEST, asdict(setting))
    rows = from_plain(tuple[Trial, ...], read_lines(folder / TRIALS), folder / TRIALS)
    trials = {t.key: t for t in rows}
    order = sorted(trials.values(), key=lambda t: t.seed)
    return Evaluation(folder, cast(EvalSetting, setting or known), tuple(order))


def add_trials(folder: Path, trials: Sequence[Trial]) -> None:
    """Append finished trials; they are on disk when this returns, and in object storage if that can be reached."""
    append_lines(folder / TRIALS, [asdict(t) for t in trials])
    publish_if_reachable(folder)


def _check_same(folder: Path, known: EvalSetting, requested: EvalSetting) -> None:
    if other := sorted(set(known.tasks) - set(requested.tasks)):
        scene, instruction = other[0]
        raise ConfigError(
            f"{folder} already holds an evaluation of other tasks, such as '{instruction}' in scene {scene}: "
            "choose another folder"
        )
    for name, value in asdict(requested).items():
        if name not in ("tasks", "trials", "details") and asdict(known)[name] != value:
            raise ConfigError(
                f"{folder} already holds an evaluation with {name} {asdict(known)[name]!r}, "
                f"not {value!r}: choose another folder"
            )
    judge, asked = (setting.details.get("judge") for setting in (known, requested))
    if judge and asked and judge != asked:
        raise ConfigError(
            f"{folder} already holds an evaluation that '{judge}' judges, not '{asked}': choose another folder"
        )
