"""Some trials at once: the control loop itself, with the task given and witnesses instead of a recorder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from soar.evaluation.envs import EvalEnv
from soar.evaluation.results import Trial, TrialKey
from soar.interfaces import Policy, SubgoalGenerator
from soar.rollout.callbacks import Callback, EpisodeResult
from soar.rollout.fixed_task import fixed_station, run_fixed_tasks
from soar.rollout.station import EpisodeConfig, Station
from soar.types import Image, Observation, Step, Subgoal
from soar.utils.media import inset, resize, write_video


class TrialState:
    """One env during its trial: its film, and whether the task is, or ever was, done."""

    def __init__(self, env: EvalEnv, key: TrialKey, video_size: int) -> None:
        self.env, self.key = env, key
        self.subgoal: Image | None = None
        self._video_size = video_size
        self._done: bool | None = None
        self._ever: bool | None = None
        self._frames: list[Image] = []

    def look(self) -> None:
        """After an executed action: is it done?"""
        self._done = self.env.fulfilled()
        if self._done is not None:
            self._ever = bool(self._ever) or self._done

    def film(self, image: Image) -> None:
        """One more frame, with the present subgoal in its corner."""
        if self._video_size:
            frame = resize(image, self._video_size)
            self._frames.append(frame if self.subgoal is None else inset(frame, self.subgoal))

    def finish(self, last: Observation, fault: str, folder: Path) -> Trial:
        """Judge the end, and keep the film in `folder`."""
        judged = self.env.judge(last, self._done, fault)
        video = video_name(self.key) if self._frames else ""
        if video:
            write_video(folder / video, self._frames, fps=1 / self.env.robot.period_s)
        return Trial(
            *self.key, judged.outcome, self._ever, judged.lost, video, judged.raw, judged.verdicts
        )


class TrialCallback(Callback):
    """Watches the attempts of one batch, by name of their stations."""

    def __init__(self, attempts: Mapping[str, TrialState], folder: Path) -> None:
        self.trials: list[Trial] = []
        self._attempts, self._folder = attempts, folder

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """Shown in the film's corner from now on."""
        self._attempts[station.name].subgoal = subgoal.image

    def on_step(self, station: Station, step: Step) -> None:
        """One action was executed."""
        attempt = self._attempts[station.name]
        attempt.film(step.observation.image)
        attempt.look()

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """The trial is over, and the arm is at home."""
        attempt, last = self._attempts[station.name], result.after.observation
        attempt.film(last.image)
        fault = "" if result.fault is None else str(result.fault)
        self.trials.append(attempt.finish(last, fault, self._folder))


def video_name(key: TrialKey) -> str:
    """Where a trial's video lies in its evaluation's folder."""
    words = "-".join("".join(c if c.isalnum() else " " for c in key.instruction).split())
    return f"videos/{key.scene}/{words}/{key.seed}.mp4"


def run_trials(
    envs: Sequence[EvalEnv],
    keys: Sequence[TrialKey],
    policy: Policy,
    subgoals: SubgoalGenerator | None,
    episode_config: EpisodeConfig,
    rng: np.random.Generator,
    folder: Path,
    video_size: int = 0,
) -> list[Trial]:
    """One trial on each env, from its own start, all in lockstep.

    Args:
        subgoals: None for a policy that follows words.
        folder: gets the films.
        video_size: pixels of their side; 0 keeps none.
    """
    attempts = {
        str(n): TrialState(env, key, video_size)
        for n, (env, key) in enumerate(zip(envs, keys, strict=True))
    }
    for attempt in attempts.values():
        attempt.env.reset(attempt.key.instruction, attempt.key.seed)
    witness = TrialCallback(attempts, folder)
    run_fixed_tasks(
        [
            fixed_station(name, t.env.robot, t.key.instruction, t.key.scene, t.key.seed)
            for name, t in attempts.items()
        ],
        policy,
        subgoals,
        episode_config,
        rng,
        callback=witness,
        metronome=envs[0].metronome,
    )
    return witness.trials
