"""Demonstrations by a person, a leader arm or a script, at one station, into an episode store.

The arm moves behind the same safety limits as in a collection. A control step takes place only while something is
commanded, so that nobody has to hurry and pauses aren't recorded.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

import soar
from soar.collection import unstored
from soar.collection.keys import attend
from soar.collection.seeds import Seeds
from soar.collection.status import Activity, StationStatus, StatusFolder
from soar.errors import ConfigError, MotionHeld, RobotFault, StoreError
from soar.interfaces import EpisodeStore
from soar.robots.operation.teleoperation import Command, CommandKeys, Teleoperator
from soar.rollout.assessment import SceneAssessment
from soar.rollout.callbacks import NO_CALLBACK, Callback, EpisodeResult
from soar.rollout.contracts import robot_contract
from soar.rollout.recorder import EpisodeBuffer, to_episode
from soar.rollout.station import Station
from soar.tasks.grammar import parse_instruction
from soar.types import (
    Action,
    Image,
    Observation,
    Outcome,
    Proposal,
    Provenance,
    Step,
    Task,
    Verdict,
)
from soar.utils.clock import Metronome

log = logging.getLogger(__name__)

_PLACEMENTS = 200
"""Most random placements of a simulated table that are tried until the task is undone in one."""
_HELD_S = 0.1
"""Interval in seconds at which a held arm is tried again."""
_PAUSED = "paused: `soar resume` goes on"
_FAULTS = 3
"""Faults in a row after which the recording ends."""


@dataclass(frozen=True)
class RecordingState:
    """What a person who records is told."""

    task: str
    """Instruction of the running demonstration, or of the next one."""
    state: str
    """What the arm waits for, or why it is held."""
    running: bool
    """Whether a demonstration is running."""
    step: int
    """Control steps of the running demonstration."""
    kept: int
    """Number of demonstrations stored."""
    discarded: int
    """Number of demonstrations thrown away."""
    problem: str
    """Why the last demonstration was dropped; empty if it wasn't."""


@runtime_checkable
class View(Protocol):
    """Where the person looks."""

    def show(self, image: Image, state: RecordingState) -> None:
        """Show the camera's picture and the state, once in each control step."""


class Recording:
    """Demonstrations at one station, one after the other."""

    def __init__(
        self,
        station: Station,
        teleoperator: Teleoperator,
        store: EpisodeStore,
        status_folder: StatusFolder,
        commands: CommandKeys,
        *,
        view: View | None = None,
        metronome: Metronome | None = None,
        callback: Callback = NO_CALLBACK,
        spare: Path | None = None,
    ) -> None:
        """Prepare to record.

        Args:
            station: the station.
            teleoperator: where the actions come from.
            store: where demonstrations are stored.
            status_folder: shows the station's status.
            commands: a person's commands; the demonstrations of a script begin and end by themselves.
            view: where the person looks.
            metronome: keeps the control period; None runs without pauses.
            callback: called back at each step, and at each look between two steps.
            spare: folder for demonstrations that can't be stored.
        """
        self.station, self.teleoperator, self._store = station, teleoperator, store
        self._status_folder, self._commands, self._view = status_folder, commands, view
        self._metronome, self._callback, self._spare = metronome, callback, spare
        self._started_s, self._faults, self._problem = time.time(), 0, ""
        self._activity: Activity | None = None
        self._seeds = Seeds(station, store)
        self.kept = self.discarded = 0
        status_folder.forget_stop()

    def run(self, tasks: Sequence[Task], demonstrations: int | None) -> None:
        """Record until `demonstrations` are stored or the person ends it.

        Args:
            tasks: the tasks; the first one until the person asks for the next.
            demonstrations: number of demonstrations; None for no limit.

        Raises:
            RobotFault: several faults in a row.
            StoreError: a demonstration can't be stored; the message says where it is.
            ConfigError: a simulated table has no placement in which a task is undone, or a script has no actions.
        """
        turns = itertools.cycle(tasks)
        task = next(turns)
        try:
            while demonstrations is None or self.kept < demonstrations:
                try:
                    word = self._demonstrate(task)
                except RobotFault as error:
                    if self._recover(task, error) == "quit":
                        return
                    continue
                self._faults = 0
                if word == "quit":
                    return
                if chosen := self._commands.chosen():
                    task = task_named(self.station, chosen)
                elif word == "next":
                    task = next(turns)
        finally:
            self._show_status("stopped")

    def _demonstrate(self, task: Task) -> Command:
        """Record one demonstration. Returns the command that ended it."""
        self._show_status("collecting", f"recording: {task.instruction}")
        self._prepare(task)
        if self._metronome:
            self._metronome.reset()
        word = self._wait_for_start(task)
        if word != "enter":
            return word
        self.teleoperator.reset(task.instruction)
        buffer = EpisodeBuffer(self._provenance(task), robot_contract(self.station.robot))
        buffer.done_before = self._truth(task)
        before, after, word = self._record(task, buffer)
        if word == "enter" and buffer.steps:
            self._keep(task, buffer, before, after)
        else:
            self.discarded += bool(buffer.steps)
        return word

    def _prepare(self, task: Task) -> None:
        """Set a simulated table so that the task is undone, then home the arm."""
        robot, simulation = self.station.robot, self.station.simulation
        if simulation is not None:
            for attempt in range(_PLACEMENTS):
                simulation.reset(self._seeds.current + attempt)
                if not self._truth(task):
                    break
            else:
                raise ConfigError(
                    f"the table has no start for '{task.instruction}', as it is always done"
                )
        robot.home()

    def _wait_for_start(self, task: Task) -> Command:
        """Show the picture until the person starts or wants something else; a script starts by itself.

        Nothing starts while `soar pause` holds the station, and `soar stop` ends the recording.
        """
        attended = self.teleoperator.actor == "person"
        while True:
            asked = self._status_folder.command()
            paused = asked == "pause"
            if asked == "stop":
                return "quit"
            if not attended and not paused:
                return "enter"
            if paused != (self._activity == "paused"):
                self._show_status("paused" if paused else "collecting", task.instruction)
            observation = self._look(task, 0, _PAUSED if paused else "ready: Enter starts")
            if attended:
                self.teleoperator.act(observation)
            else:
                time.sleep(_HELD_S)
            word = "next" if self._commands.has_chosen else self._commands.next()
            if word in ("next", "quit") or (word == "enter" and not paused):
                return word

    def _record(
        self, task: Task, buffer: EpisodeBuffer
    ) -> tuple[Observation, Observation, Command]:
        """Take control steps until the end. Returns the first and the last observation, and the command."""
        steps, state = buffer.steps, "recording: Enter keeps it, x throws it away"
        first = observation = self._look(task, 0, state, running=True)
        held: Action | None = None
        self._callback.on_start(self.station, Proposal(task, "asked"))
        while True:
            word = self._commands.next()
            if word == "enter" and not steps:
                word = None
            if word is not None:
                return first, observation, word
            try:
                action = self.teleoperator.act(observation) if held is None else held
                if action is not None:
                    held = action if self.teleoperator.actor == "expert" else None
                    attend([self._status_folder])
                    executed = self.station.robot.execute(action)
                    actor = self.teleoperator.actor
                    steps.append(Step(len(steps), observation, action, executed, None, actor))
                    held = None
            except StopIteration:
                if not steps:
                    raise ConfigError("the script has ended without an action") from None
                return first, observation, "enter"
            except MotionHeld:
                time.sleep(_HELD_S)  # the demonstration goes on when the arm may move again
            observation = self._look(task, len(steps), state, running=True)

    def _look(self, task: Task, steps: int, state: str, *, running: bool = False) -> Observation:
        """Wait for the next control step, observe, and show it."""
        if self._metronome:
            self._metronome.tick()
        observation = self.station.robot.observe()
        seen = np.zeros(robot_contract(self.station.robot).action.dim, np.float32)
        self._callback.on_step(self.station, Step(steps, observation, seen, seen, None))
        if self._view:
            held = self.station.guard.reason() if self.station.guard else ""
            state = f"held: {held}" if held else state
            counts = self.kept, self.discarded, self._problem
            seen_now = RecordingState(task.instruction, state, running, steps, *counts)
            self._view.show(observation.image, seen_now)
        return observation

    def _keep(
        self, task: Task, buffer: EpisodeBuffer, before: Observation, after: Observation
    ) -> None:
        done = self._truth(task)
        known = done is not None and buffer.done_before is not None
        buffer.truth = bool(done and not buffer.done_before) if known else None
        result = EpisodeResult(
            Proposal(task, "asked"),
            SceneAssessment(before, {}),
            SceneAssessment(after, {}),
            self._verdict(buffer.truth),
            noise=0.0,
        )
        episode = to_episode(buffer, result)
        try:
            self._store.append(episode)
        except StoreError as error:
            raise StoreError(unstored.keep(self._spare, [episode], error)) from error
        self._seeds.advance()
        self.kept, self._problem = self.kept + 1, ""
        self._callback.on_episode(self.station, result)

    def _verdict(self, truth: bool | None) -> Verdict:
        """A person keeps what they find good; whether a script succeeded only the simulator knows."""
        if self.teleoperator.actor == "person":
            return Verdict("success", judge="person")
        outcome: Outcome = "unknown" if truth is None else "success" if truth else "failure"
        return Verdict(outcome, judge="" if truth is None else "simulator")

    def _provenance(self, task: Task) -> Provenance:
        return Provenance(
            station=self.station.name,
            regime=self.station.regime,
            scene=self.station.scene,
            seed=self._seeds.current,
            started_s=time.time(),
            checkpoint=self.teleoperator.actor,
            code_version=soar.__version__,
            proposal=Proposal(task, "asked"),
        )

    def _truth(self, task: Task) -> bool | None:
        """Whether the simulator finds the task done; None without one, or for a task that it doesn't know."""
        if self.station.simulation is None or task not in self.station.tasks:
            return None
        return self.station.simulation.truth(task.instruction)

    def _recover(self, task: Task, error: RobotFault) -> Command | None:
        """Clear a fault, which dropped the running demonstration, or wait while a person holds the arm.

        Returns the command "quit" if it came meanwhile. Raises RobotFault: there were too many faults in a row.
        """
        guard, faulty = self.station.guard, False
        while True:
            held = isinstance(error, MotionHeld) and guard is not None and bool(guard.reason())
            if not held:
                faulty = True
                self._faults += 1
                if self._faults >= _FAULTS:
                    raise error
                self._problem = f"the demonstration was dropped: {error}"
                log.warning("%s", self._problem)
            try:
                if held and self._wait_for_release(task) == "quit":
                    return "quit"
                if faulty:
                    self.station.robot.recover()
            except RobotFault as again:
                error = again
            else:
                return None

    def _wait_for_release(self, task: Task) -> Command | None:
        """Wait while a person holds the arm; return the command "quit" if it came meanwhile."""
        guard = self.station.guard
        while guard is not None and guard.reason():
            self._look(task, 0, "held")
            if self._commands.next() == "quit":
                return "quit"
            time.sleep(_HELD_S)
        return None

    def _show_status(self, activity: Activity, doing: str = "") -> None:
        self._activity = activity
        self._status_folder.show(
            StationStatus(
                self.station.name,
                self.station.scene,
                activity,
                self._started_s,
                time.time(),
                os.getpid(),
                doing,
                self.kept,
                self.discarded,
            )
        )


def task_named(station: Station, instruction: str) -> Task:
    """Return the station's task with an instruction; where it has none, the instruction's own."""
    known = {task.instruction: task for task in station.tasks}
    return known.get(instruction) or parse_instruction(instruction)
