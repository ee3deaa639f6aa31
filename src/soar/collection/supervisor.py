"""One station's side of collection: its faults and recoveries, its missing objects, its place on the board."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soar.collection.status import Activity, EventKind, StationStatus, StatusFolder
from soar.errors import CameraFault, ConfigError, RobotFault, SoarError
from soar.interfaces import EpisodeStore
from soar.robots.duty_cycle import MeteredRobot
from soar.rollout.assessment import SceneAssessment
from soar.rollout.callbacks import EpisodeResult
from soar.rollout.station import Station
from soar.tasks.proposer import missing_objects
from soar.types import Query


@dataclass(frozen=True)
class FaultLimits:
    """What a station puts up with before it calls a person."""

    recoveries: int = 3
    """Attempts to clear a fault in software."""
    recovery_pause_s: float = 1.0
    """Before the second attempt; doubled before each further one."""
    most_drops: int = 10
    """So many episodes dropped in a row, and the station is broken."""
    absent_looks: int = 2
    """An object is missing after so many looks in a row that say so."""
    person_after: int = 3
    """A simulated person puts everything back after so many episodes with something missing; 0: never."""

    def __post_init__(self) -> None:
        if min(self.recoveries, self.most_drops, self.absent_looks) < 1:
            raise ConfigError("recoveries, most_drops and absent_looks must be at least 1")


class StationSupervisor:
    """A station at work. Whatever it remembers is dispensable: a restart needs the store alone."""

    def __init__(
        self,
        station: Station,
        store: EpisodeStore,
        board: StatusFolder,
        endurance: FaultLimits,
        stop: threading.Event,
    ) -> None:
        """`stop` ends every pause at once."""
        self.station, self.board = station, board
        self._endurance, self._stop = endurance, stop
        past = store.history(Query(stations=(station.name,)))
        self.count = sum(c.attempts for c in past.values())
        """Episodes of this station in the store, plus those tried since: the next seed follows from it."""
        self.look: SceneAssessment | None = None
        """What was seen last, with answers; None when something happened that nobody saw."""
        self.activity: Activity = "starting"
        self.noise = 0.0
        self.stored = self.dropped = self.faults = 0
        self.recent_faults: list[str] = []
        """Since the last whole episode: they go into the next one's provenance."""
        self.missing: tuple[str, ...] = ()
        self._absent: dict[str, int] = {}
        self._drops_in_a_row = self._since_missing = 0
        self._started_s = time.time()
        if board.command() == "stop":
            board.request("run")  # that was meant for the process before this one
        if station.simulation is not None:
            station.simulation.reset(self.seed)

    @property
    def seed(self) -> int:
        """Of the next episode."""
        return int(np.random.SeedSequence([self.station.seed, self.count]).generate_state(1)[0])

    @property
    def broken(self) -> bool:
        """Whether a person is needed before anything can go on here."""
        return self.activity == "broken"

    def willing(self) -> bool:
        """Whether the station can work, and a person wants it to."""
        if self.activity in ("broken", "stopped"):
            return False
        wish = self.board.command()
        if wish == "stop":
            self.show("stopped")
        if wish == "pause" and self.activity != "paused":
            self.show("paused")
        return wish == "run"

    def show(self, activity: Activity, doing: str = "", late_ms: float | None = None) -> None:
        """Put the station's state on the board."""
        self.activity = activity
        robot = self.station.robot
        self.board.show(
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
            )
        )

    def finish(self, result: EpisodeResult) -> None:
        """Take note of how the episode ended; a fault is cleared before this returns."""
        self.count += 1
        if result.fault is not None:
            self.drop(result.fault)
            return
        self.stored += 1
        self._drops_in_a_row = 0
        self.recent_faults.clear()
        self.see(result.after)
        if result.homing_fault is not None:
            self._clear(result.homing_fault)

    def drop(self, error: SoarError) -> None:
        """An episode was broken off by `error`; nothing of it is kept."""
        self.dropped += 1
        self._drops_in_a_row += 1
        self._clear(error)
        self._limit(error)

    def see(self, look: SceneAssessment) -> None:
        """A new look: who is missing, and who is back."""
        self.look = look
        tasks = self.station.tasks
        absent = missing_objects(tasks, look.answers)
        self._absent = {o: self._absent.get(o, 0) + 1 for o in absent}
        missing = tuple(
            sorted(o for o, n in self._absent.items() if n >= self._endurance.absent_looks)
        )
        for thing in sorted(set(missing) - set(self.missing)):
            self.board.note(
                "missing", f"the {thing} isn't there any more; please put it back", person=True
            )
        for thing in sorted(set(self.missing) - set(missing)):
            self.board.note("back", f"the {thing} is there again")
        self._since_missing = self._since_missing + 1 if missing else 0
        self.missing = missing

    def call_simulated_person(self) -> None:
        """In simulation, after a while with something missing, somebody puts everything back."""
        after, simulation = self._endurance.person_after, self.station.simulation
        if simulation is not None and after and self._since_missing >= after:
            try:
                simulation.reset(self.seed)
            except RobotFault as error:
                self.fault(error)
                return
            self.board.note("back", f"a simulated person put back: {', '.join(self.missing)}")
            self._absent, self.missing, self._since_missing = {}, (), 0
            self.look = None

    def fault(self, error: SoarError) -> None:
        """Something broke between episodes."""
        self._drops_in_a_row += 1
        self._clear(error)
        self._limit(error)

    def wait_for_model(self, error: SoarError) -> None:
        """An episode was broken off because a model is down; that is nothing to break a station for."""
        self.dropped += 1
        self.look = None
        self.board.note("model down", str(error))
        self.show("waiting", str(error))
        self.recover(error)

    def recover(self, error: SoarError) -> None:
        """Make the robot usable again, at home; a bounded number of attempts, else the station is broken.

        What is not the robot's fault only sends it home, unless that fails.
        """
        robot = self.station.robot
        for attempt in range(self._endurance.recoveries):
            if attempt and self._stop.wait(self._endurance.recovery_pause_s * 2 ** (attempt - 1)):
                break
            try:
                if isinstance(error, RobotFault):
                    robot.recover()
                robot.home()
                robot.observe()
            except RobotFault as again:
                error = again
            else:
                return
        if not self._stop.is_set():
            self.give_up(f"{error} ({self._endurance.recoveries} recoveries didn't help)")

    def give_up(self, why: str) -> None:
        """A person is needed."""
        self.board.note("broken", why, person=True)
        self.show("broken", why)

    def _limit(self, error: SoarError) -> None:
        if self._drops_in_a_row >= self._endurance.most_drops and not self.broken:
            self.give_up(f"{self._drops_in_a_row} failures in a row, the last one: {error}")

    def _clear(self, error: SoarError) -> None:
        """Note what went wrong, make the robot usable again, and forget what was seen before."""
        self.faults += 1
        self.look = None
        self.recent_faults.append(f"{_kind(error)}: {error}")
        self.board.note(_kind(error), str(error))
        self.recover(error)


def _kind(error: SoarError) -> EventKind:
    if isinstance(error, CameraFault):
        return "camera fault"
    return "robot fault" if isinstance(error, RobotFault) else "bad output"


def broken(supervisors: Sequence[StationSupervisor]) -> tuple[str, ...]:
    """Names of the stations that need a person."""
    return tuple(d.station.name for d in supervisors if d.broken)
