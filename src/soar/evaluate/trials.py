"""Some trials at once: benches in lockstep, one policy deciding for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soar.errors import RobotFault
from soar.evaluate.bench import Bench
from soar.evaluate.goals import Goals
from soar.evaluate.results import Key, Trial
from soar.interfaces import Policy
from soar.media import corner, resize, write_video
from soar.types import Image, Observation


@dataclass(frozen=True)
class Plan:
    """How long a trial is (paper: five subgoals, twenty steps for each, 5 Hz) and what is kept of it."""

    subgoals: int = 5
    steps: int = 20
    """Control steps for each subgoal."""
    video_size: int = 128
    """Pixels of the videos' side; 0 keeps none."""


class Attempt:
    """One bench during its trial: what it sees, whether it was ever done, what went wrong."""

    def __init__(self, bench: Bench, key: Key, video_size: int) -> None:
        self.bench = bench
        self.key = key
        self.ever: bool | None = None
        self.fault = ""
        self.frames: list[Image] = []
        self._video_size = video_size
        bench.set_up(key.instruction, key.seed)
        self.observation = bench.robot.observe()

    def step(self, action: np.ndarray, goal: Image | None) -> None:
        """Execute one action and look; after a fault nothing moves any more."""
        self._film(goal)
        if self.fault:
            return
        try:
            self.bench.wait()
            self.bench.robot.execute(action)
            self.observation = self.bench.robot.observe()
        except RobotFault as error:
            self.fault = str(error)
            return
        done = self.bench.fulfilled()
        self.ever = done if self.ever is None else self.ever or bool(done)

    def finish(self, folder: Path, goal: Image | None) -> Trial:
        """Judge the end, and keep the video."""
        self._film(goal)
        ending = self.bench.ending(self.observation, self.fault)
        video = self._save(folder)
        return Trial(*self.key, ending.outcome, self.ever, ending.lost, video, ending.raw)

    def _film(self, goal: Image | None) -> None:
        if self._video_size:
            frame = resize(self.observation.image, self._video_size)
            self.frames.append(frame if goal is None else corner(frame, goal))

    def _save(self, folder: Path) -> str:
        if not self.frames:
            return ""
        name = video_name(self.key)
        write_video(folder / name, self.frames, fps=1 / self.bench.robot.period_s)
        return name


def video_name(key: Key) -> str:
    """Where a trial's video lies in its evaluation's folder."""
    words = "-".join("".join(c if c.isalnum() else " " for c in key.instruction).split())
    return f"videos/{key.scene}/{words}/{key.seed}.mp4"


def run_trials(
    benches: Sequence[Bench],
    keys: Sequence[Key],
    policy: Policy,
    goals: Goals,
    plan: Plan,
    rng: np.random.Generator,
    folder: Path,
) -> list[Trial]:
    """One trial on each bench, from its own start, all in lockstep. Videos go to `folder`."""
    attempts = [Attempt(b, k, plan.video_size) for b, k in zip(benches, keys, strict=True)]
    policy.reset()
    instructions = [k.instruction for k in keys]
    for _ in range(plan.subgoals):
        made = goals.make(benches, _seen(attempts), instructions, rng)
        shown = [None if isinstance(g, str) else g for g in made]
        for _ in range(plan.steps):
            actions = policy.act(_seen(attempts), made, rng)
            for attempt, action, goal in zip(attempts, actions, shown, strict=True):
                attempt.step(action, goal)
    return [a.finish(folder, g) for a, g in zip(attempts, shown, strict=True)]


def _seen(attempts: Sequence[Attempt]) -> list[Observation]:
    return [a.observation for a in attempts]
