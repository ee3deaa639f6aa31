"""Supervision of a station: recovery from faults, missing objects, a person's commands, and its status."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Ge, Le

from soar.collection.seeds import Seeds
from soar.collection.status import Activity, EventKind, StationStatus, StatusFolder
from soar.errors import CameraFault, ConfigError, ContentError, MotionHeld, RobotFault, SoarError
from soar.interfaces import EpisodeStore
from soar.robots.duty_cycle import MeteredRobot
from soar.rollout.assessment import SceneAssessment
from soar.rollout.callbacks import EpisodeResult
from soar.rollout.station import Station
from soar.tasks.proposer import missing_objects
from soar.types import Observation, Verdict
from soar.utils.config import check_ranges


@dataclass(frozen=True)
class FaultLimits:
    """Limits of what a station handles without a person."""

    max_recoveries: Annotated[int, Ge(1)] = 3
    """Number of attempts to clear a fault in software."""
    recovery_pause_s: Annotated[float, Ge(0)] = 1.0
    """Pause in seconds before the second attempt, doubled before each further one."""
    max_drops: Annotated[int, Ge(1)] = 10
    """Number of episodes dropped in a row after which the station is broken."""
    missing_after: Annotated[int, Ge(1)] = 2
    """Number of assessments in a row without an object after which it counts as missing."""
    missing_below: Annotated[float, Ge(0), Le(1)] = 0.1
    """P(present) below which an assessment is without an object. Far below a half, since objects seldom vanish: after
    the system's attempts in dev1 and dev2, the packaged VLM gives up to 8 % of those in view less than a half, and up
    to 5 % less than a tenth (docs/log.md, thirty-third session)."""
    reset_after: Annotated[int, Ge(0)] = 3
    """Number of episodes with a missing object after which a simulated table is reset; 0 for never."""
    stuck_after: Annotated[int, Ge(0)] = 6
    """Number of failures in a row after which the table counts as stuck, an object out of reach perhaps: a person is
    called, or a simulated table reset; 0 for never."""

    def __post_init__(self) -> None:
        check_ranges(self)


class StationSupervisor:
    """A collecting station. All of its state can be lost: a restart needs the store alone."""

    def __init__(
        self,
        station: Station,
        store: EpisodeStore,
        status_folder: StatusFolder,
        limits: FaultLimits,
        stop: threading.Event,
    ) -> None:
        """Begin with a station, and place the objects on a simulated table.

        Args:
            station: the station.
            store: where its episodes are.
            status_folder: shows its status and takes a person's commands.
            limits: limits of what is handled without a person.
            stop: ends every pause at once.
        """
        self.station, self.status_folder = station, status_folder
        self._limits, self._stop = limits, stop
        self.seeds = Seeds(station, store)
        """Seeds of the station's episodes."""
        self.assessment: SceneAssessment | None = None
        """Assessment of the current scene; None if something may have changed since."""
        self.activity: Activity = "starting"
        self._held = ""
        """Why the arm is held, or was last."""
        self._at_home = False
        """Whether nothing but episodes has moved the arm since it was homed: not at the start, nor after a hold."""
        self.noise = 0.0
        """Scale of the policy's standard deviation in the running episode."""
        self.stored = self.dropped = self.faults = 0
        self.recent_faults: list[str] = []
        """Faults since the last complete episode, for the next one's provenance."""
        self.missing: tuple[str, ...] = ()
        """Names of the missing objects."""
        self._absences: dict[str, int] = {}
        """Number of assessments in a row without each object."""
        self._drops_in_a_row = self._refusals_in_a_row = 0
        self._episodes_with_missing = self._failures_in_a_row = 0
        self._started_s = time.time()
        self._requested_tasks: tuple[str, ...] = ()
        """List of tasks that a person requested last; empty for the station's own."""
        status_folder.forget_stop()
        if station.simulation is not None:
            station.simulation.reset(self.seed)

    @property
    def seed(self) -> int:
        """Seed of the next episode."""
        return self.seeds.current

    @property
    def broken(self) -> bool:
        """Whether the station needs a person."""
        return self.activity == "broken"

    def willing(self) -> bool:
        """Whether the station works and no command pauses or stops it."""
        if self.activity in ("broken", "stopped"):
            return False
        command = self.status_folder.command()
        if command == "stop":
            self.show("stopped")
            return False
        guard = self.station.guard
        if guard is not None and (reason := guard.reason()):
            if (self.activity, reason) != ("held", self._held):
                self._hold(reason)
            return False
        if self.activity == "held":
            self.status_folder.note("back", "the arm may move again")
            self.activity = "starting"
        if command == "pause" and self.activity != "paused":
            self.show("paused")
        self._change_tasks()
        return command == "run"

    def show(self, activity: Activity, doing: str = "", late_ms: float | None = None) -> None:
        """Write the station's status."""
        self.activity = activity
        robot = self.station.robot
        self.status_folder.show(
            StationStatus(
                self.station.name,
                self.station.scene,
                activity,
                self._started_s,
                time.time(),
                os.getpid(),
                doing,
                self.stored,
                self.dropped,
                self.faults,
                self.missing,
                robot.duty_cycle() if isinstance(robot, MeteredRobot) else None,
                late_ms,
                tuple(task.instruction for task in self.station.tasks),
            )
        )

    def _change_tasks(self) -> None:
        """Take over a person's list of tasks, if it is a new one with a question for each."""
        requested = self.status_folder.requested_tasks()
        if requested == self._requested_tasks or self.station.choose_tasks is None:
            return
        self._requested_tasks = requested
        try:
            tasks, proposer = self.station.choose_tasks(requested)
        except ConfigError as error:
            self.status_folder.note("tasks", f"the tasks stay as they were: {error}")
            return
        self.station = replace(self.station, tasks=tasks, proposer=proposer)
        self._absences, self.missing, self.assessment = {}, (), None
        names = ", ".join(task.instruction for task in tasks)
        self.status_folder.note("tasks", f"from now on: {names}")

    def observe(self) -> Observation:
        """Return what the robot sees; after the start and after a hold it goes home first. Raises RobotFault."""
        if not self._at_home:
            self.station.robot.home()
            self._at_home = True
        return self.station.robot.observe()

    def finish(self, result: EpisodeResult) -> None:
        """Handle the end of an episode; returns after the recovery from a fault."""
        self.seeds.advance()
        if result.fault is not None:
            self.drop(result.fault)
            return
        self.stored += 1
        self._drops_in_a_row = 0
        self.recent_faults.clear()
        self.update(result.after)
        self._count_failures(result.verdict)
        if result.homing_fault is not None:
            self._clear(result.homing_fault)

    def drop(self, error: SoarError) -> None:
        """Handle an episode that was broken off by an error."""
        self.dropped += 1
        self.fault(error)

    def settled(self, refusal: ContentError | None) -> None:
        """Handle the store's answer to a finished episode, which counted as stored: taken, or refused."""
        if refusal is None:
            self._refusals_in_a_row = 0
            return
        self.stored -= 1
        self.dropped += 1
        self.faults += 1
        self._refusals_in_a_row += 1
        self.status_folder.note("refused", str(refusal))
        if self._refusals_in_a_row >= self._limits.max_drops and not self.broken:
            self._give_up(f"{self._refusals_in_a_row} episodes refused in a row: {refusal}")

    def fault(self, error: SoarError) -> None:
        """Handle an error: recover, and give up after too many in a row."""
        if isinstance(error, MotionHeld):
            self._hold(str(error))
            return
        self._drops_in_a_row += 1
        self._clear(error)
        if self._drops_in_a_row >= self._limits.max_drops and not self.broken:
            self._give_up(f"{self._drops_in_a_row} failures in a row, the last one: {error}")

    def update(self, assessment: SceneAssessment) -> None:
        """Take over a new assessment, and note objects that are missing or back."""
        self.assessment = assessment
        absent = missing_objects(self.station.tasks, assessment.answers, self._limits.missing_below)
        self._absences = {o: self._absences.get(o, 0) + 1 for o in absent}
        missing = tuple(
            sorted(o for o, n in self._absences.items() if n >= self._limits.missing_after)
        )
        for object in sorted(set(missing) - set(self.missing)):
            self.status_folder.note(
                "missing", f"the {object} isn't there any more; please put it back", person=True
            )
        for object in sorted(set(self.missing) - set(missing)):
            self.status_folder.note("back", f"the {object} is there again")
        self._episodes_with_missing = self._episodes_with_missing + 1 if missing else 0
        self.missing = missing

    def _count_failures(self, verdict: Verdict) -> None:
        """Count failures in a row, and note a table that gets stuck or works again."""
        after = self._limits.stuck_after
        if verdict.outcome == "failure":
            self._failures_in_a_row += 1
            if self._failures_in_a_row == after:
                called = self.station.simulation is None  # a simulated table is reset instead
                message = f"no success in {after} episodes in a row"
                message += "; please look at the table" if called else ""
                self.status_folder.note("stuck", message, person=called)
        elif verdict.outcome == "success":
            if after and self._failures_in_a_row >= after:
                self.status_folder.note("back", "a task succeeded again")
            self._failures_in_a_row = 0

    def reset_simulation(self) -> None:
        """Reset a simulated table that is stuck, or on which an object has been missing for a while."""
        simulation, limits = self.station.simulation, self._limits
        missing = 0 < limits.reset_after <= self._episodes_with_missing
        stuck = 0 < limits.stuck_after <= self._failures_in_a_row
        if simulation is None or not (missing or stuck):
            return
        try:
            simulation.reset(self.seed)
        except RobotFault as error:
            self.fault(error)
            return
        reason = (
            f"for: {', '.join(self.missing)}"
            if missing
            else f"after {self._failures_in_a_row} failures in a row"
        )
        self.status_folder.note("back", f"reset the simulated table {reason}")
        self._absences, self.missing, self.assessment = {}, (), None
        self._episodes_with_missing = self._failures_in_a_row = 0

    def wait_for_model(self, error: SoarError) -> None:
        """Handle an episode that was broken off by an unavailable model, which never breaks the station."""
        self.dropped += 1
        self.assessment = None
        self.show("waiting", str(error))
        self.recover(error)

    def recover(self, error: SoarError) -> None:
        """Recover the robot and home it, or give up after several attempts.

        After an error that isn't the robot's, it is only homed, unless that fails.
        """
        robot = self.station.robot
        for attempt in range(self._limits.max_recoveries):
            if attempt and self._stop.wait(self._limits.recovery_pause_s * 2 ** (attempt - 1)):
                break
            try:
                if isinstance(error, RobotFault):
                    robot.recover()
                robot.home()
                robot.observe()
            except MotionHeld as held:
                self._hold(str(held))
                return
            except RobotFault as again:
                error = again
            else:
                self._at_home = True
                return
        if not self._stop.is_set():
            self._give_up(f"{error} ({self._limits.max_recoveries} recoveries didn't help)")

    def _give_up(self, reason: str) -> None:
        """Call a person."""
        self.status_folder.note("broken", reason, person=True)
        self.show("broken", reason)

    def _hold(self, reason: str) -> None:
        """Wait for the person who holds the arm; the scene has to be assessed again."""
        self.assessment, self._at_home, self._held = None, False, reason
        if self.activity != "held":
            self.status_folder.note("held", reason)
        self.show("held", reason)

    def _clear(self, error: SoarError) -> None:
        """Note an error and recover; the scene has to be assessed again."""
        if isinstance(error, MotionHeld):
            self._hold(str(error))
            return
        self.faults += 1
        self.assessment = None
        kind = _kind(error)
        self.recent_faults.append(f"{kind}: {error}")
        self.status_folder.note(kind, str(error))
        self.recover(error)


def _kind(error: SoarError) -> EventKind:
    if isinstance(error, CameraFault):
        return "camera fault"
    return "robot fault" if isinstance(error, RobotFault) else "bad output"
