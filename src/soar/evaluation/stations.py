"""Evaluation environments of real stations: starts from recorded images, judged by a person, a detector, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from soar.data.store.images import decode, encode
from soar.errors import ConfigError, ModelUnavailable
from soar.evaluation.envs import RealEvalEnv, Starts, TrialOutcome
from soar.evaluation.operator import Operator
from soar.evaluation.trials import file_name
from soar.interfaces import AnySuccessDetector, VisionLanguageModel
from soar.rollout.station_config import StationConfig, open_station, station_tasks
from soar.tasks.success_detector import judge_episodes, needs_all_frames, verdict
from soar.types import EpisodeFrames, Images, Observation, Task, Verdict
from soar.utils.clock import Clock
from soar.utils.files import read_bytes, write_bytes


@dataclass(frozen=True)
class StationEnvs:
    """Maker of the evaluation environments of some real stations, by name of the station."""

    stations: Sequence[StationConfig]
    operator: Operator
    detector: AnySuccessDetector | None = None
    person_judges: bool = True
    """Whether the person's verdict counts; else the detector's. With both, both are recorded."""
    starts: Path | None = None
    """Folder of start images that every policy's trials reproduce; None keeps the scene as the last episode left it."""
    vlm: VisionLanguageModel | None = None
    """Finds the tasks that are possible in a kept scene."""
    clock: Clock = field(default_factory=Clock)
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Folder of each station in which a person stops its motion, by name; none where nobody can."""

    def __post_init__(self) -> None:
        if self.detector is None and not self.person_judges:
            raise ConfigError("without a success detector a person judges")
        if self.starts is None and self.vlm is None:
            raise ConfigError(
                "kept scenes need a vision-language model, which finds what is possible"
            )

    def __call__(self, name: str) -> RealEvalEnv:
        """Make a station's environment, with its arm at home."""
        station = next(s for s in self.stations if s.name == name)
        tasks = {task.instruction: task for task in station_tasks(station)}
        starts: Starts
        if self.starts is not None:
            starts = RecordedStarts(self.operator, self.starts / name)
        else:
            assert self.vlm is not None
            starts = KeptStarts(self.operator, self.vlm, tasks)
        judge = StationJudge(tasks, self.operator, self.detector, self.person_judges)
        opened = open_station(station, self.clock, self.folders.get(name))
        env = RealEvalEnv(opened.robot, judge, starts, self.clock, opened.guard)
        try:
            env.when_free(opened.robot.home)
        except BaseException:
            env.close()
            raise
        return env


@dataclass(frozen=True)
class StationJudge:
    """Verdicts of a person and a detector on one station's tasks."""

    tasks: Mapping[str, Task]
    """Tasks by instruction."""
    operator: Operator
    detector: AnySuccessDetector | None
    person_judges: bool

    @property
    def needs_all_frames(self) -> bool:
        """Whether the detector judges all frames of a trial."""
        return self.detector is not None and needs_all_frames(self.detector)

    def judge(self, instruction: str, images: Images) -> TrialOutcome:
        """Judge a trial that began with its task undone."""
        detected = Verdict("unknown")
        if self.detector is not None:
            detected = self._detect(self.detector, instruction, images)
        person = self.operator.judge(instruction, images[-1]) if self.person_judges else None
        return TrialOutcome(
            person or detected.outcome,
            raw=detected.raw,
            person=person,
            detector=detected.outcome if self.detector else None,
        )

    def _detect(self, detector: AnySuccessDetector, instruction: str, images: Images) -> Verdict:
        frames = EpisodeFrames(self.tasks[instruction], images, undone_before=True)
        try:
            [detected] = judge_episodes(detector, [frames])
        except ModelUnavailable as error:
            return Verdict("unknown", raw=str(error))
        return detected


@dataclass(frozen=True)
class RecordedStarts:
    """Starts that a person sets; the first trial of each records its image, later ones reproduce it."""

    operator: Operator
    folder: Path

    def can_start(self, instruction: str, observation: Observation) -> bool:
        """Return True: a person makes it so."""
        return True

    def set(self, instruction: str, seed: int, observe: Callable[[], Observation]) -> None:
        """Return once the start is set."""
        path = self.folder / file_name(instruction) / f"{seed}.png"
        recorded = decode(read_bytes(path)) if path.exists() else None
        self.operator.set_start(instruction, lambda: observe().image, recorded)
        if recorded is None:
            write_bytes(path, encode(observe().image, "png"))


@dataclass(frozen=True)
class KeptStarts:
    """Starts as the last episode left the scene; a person is asked only where the task isn't possible."""

    operator: Operator
    vlm: VisionLanguageModel
    tasks: Mapping[str, Task]
    """Tasks by instruction."""

    def can_start(self, instruction: str, observation: Observation) -> bool:
        """Whether the VLM finds that the task isn't done."""
        task = self.tasks[instruction]
        try:
            [[answer]] = self.vlm.answer([observation.image], [[task.question]])
        except ModelUnavailable:
            return False
        return verdict(task, {task.question: answer}, self.vlm.name).outcome == "failure"

    def set(self, instruction: str, seed: int, observe: Callable[[], Observation]) -> None:
        """Return once the start is set."""
        if not self.can_start(instruction, observe()):
            self.operator.set_start(instruction, lambda: observe().image, None)
