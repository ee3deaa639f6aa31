"""Trials of one batch: the control loop with a given task and callbacks that record and judge."""

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
from soar.types import Image, Step, Subgoal
from soar.utils.media import inset, resize, write_video


class TrialState:
    """A running trial: its frames and video, and whether the task is done and was ever done."""

    def __init__(self, env: EvalEnv, key: TrialKey, video_size: int) -> None:
        self.env, self.key = env, key
        self.subgoal: Image | None = None
        self._video_size = video_size
        self._done: bool | None = None
        self._ever: bool | None = None
        self._images: list[Image] = []
        self._frames: list[Image] = []

    def check_done(self) -> None:
        """Check, after an executed action, whether the task is done."""
        self._done = self.env.fulfilled()
        if self._done is not None:
            self._ever = bool(self._ever) or self._done

    def add_frame(self, image: Image) -> None:
        """Add a camera frame for the judge, and a video frame with the current subgoal in its corner."""
        if len(self._images) > 1 and not self.env.needs_all_frames:
            self._images.pop()
        self._images.append(image)
        if self._video_size:
            frame = resize(image, self._video_size)
            self._frames.append(frame if self.subgoal is None else inset(frame, self.subgoal))

    def finish(self, fault: str, folder: Path) -> Trial:
        """Judge the trial, and write the video into `folder`."""
        judged = self.env.judge(np.stack(self._images), self._done, fault)
        video = video_name(self.key) if self._frames else ""
        if video:
            write_video(folder / video, self._frames, fps=1 / self.env.robot.period_s)
        return Trial(
            *self.key,
            outcome=judged.outcome,
            ever=self._ever,
            lost=judged.lost,
            video=video,
            raw=judged.raw,
            person=judged.person,
            detector=judged.detector,
        )


class TrialCallback(Callback):
    """Updates the trials of one batch, by name of their stations."""

    def __init__(self, states: Mapping[str, TrialState], folder: Path) -> None:
        self.trials: list[Trial] = []
        self._states, self._folder = states, folder

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """Show the subgoal in the video from now on."""
        self._states[station.name].subgoal = subgoal.image

    def on_step(self, station: Station, step: Step) -> None:
        """Record an executed action."""
        state = self._states[station.name]
        state.add_frame(step.observation.image)
        state.check_done()

    def on_episode(self, station: Station, result: EpisodeResult) -> None:
        """Finish the trial; the arm is at home."""
        state = self._states[station.name]
        state.add_frame(result.after.observation.image)
        fault = "" if result.fault is None else str(result.fault)
        self.trials.append(state.finish(fault, self._folder))


def video_name(key: TrialKey) -> str:
    """Return the path of a trial's video inside its evaluation's folder."""
    return f"videos/{key.scene}/{file_name(key.instruction)}/{key.seed}.mp4"


def file_name(instruction: str) -> str:
    """Return an instruction in a form that fits into a file's name."""
    return "-".join("".join(c if c.isalnum() else " " for c in instruction).split())[:100]


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
    """Run one trial in each environment, from its own start, all in lockstep.

    Args:
        envs: the environments.
        keys: the start of each.
        policy: acts in all of them at once.
        subgoals: None for a language-conditioned policy.
        episode_config: number of subgoals, and control steps for each.
        rng: source of the batch's random numbers.
        folder: folder of the evaluation, for the videos.
        video_size: side of the videos [pixels]; 0 records none.
    """
    states = {
        str(n): TrialState(env, key, video_size)
        for n, (env, key) in enumerate(zip(envs, keys, strict=True))
    }
    for state in states.values():
        state.env.reset(state.key.instruction, state.key.seed)
    callback = TrialCallback(states, folder)
    run_fixed_tasks(
        [
            fixed_station(name, s.env.robot, s.key.instruction, s.key.scene, s.key.seed)
            for name, s in states.items()
        ],
        policy,
        subgoals,
        episode_config,
        rng,
        callback=callback,
        metronome=envs[0].metronome,
    )
    return callback.trials
