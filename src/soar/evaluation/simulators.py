"""Evaluation environments of stations whose robot is a third-party simulator, judged by the simulator's own truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from soar.errors import ConfigError, RobotFault
from soar.evaluation.envs import TrialOutcome
from soar.interfaces import Robot
from soar.rollout.station import Simulator
from soar.rollout.station_config import StationConfig, open_station
from soar.types import Images, Outcome


@dataclass(frozen=True)
class SimulatorEnvs:
    """Maker of the evaluation environments of some stations, by name of the station."""

    stations: Sequence[StationConfig]

    def __post_init__(self) -> None:
        if real := [s.name for s in self.stations if not s.simulator]:
            raise ConfigError(
                f"station {real[0]} has no truth; valid: a station with `simulator: true`, or another judge"
            )

    def __call__(self, name: str) -> SimulatorEvalEnv:
        """Make a station's environment."""
        opened = open_station(next(s for s in self.stations if s.name == name))
        assert opened.simulation is not None
        return SimulatorEvalEnv(opened.robot, opened.simulation)


class SimulatorEvalEnv:
    """A simulator behind the same safety limits as in collection; the same seed sets the same start."""

    metronome = None
    needs_all_frames = False

    def __init__(self, robot: Robot, simulation: Simulator) -> None:
        self.robot = robot
        self._simulation, self._instruction = simulation, ""

    def reset(self, instruction: str, seed: int) -> None:
        """Reset the simulator, with the arm at home."""
        self._instruction = instruction
        self._simulation.reset(seed)
        self.robot.home()

    def fulfilled(self) -> bool:
        """Whether the simulator finds the task done."""
        return self._simulation.truth(self._instruction)

    def judge(self, images: Images, done: bool | None, fault: str) -> TrialOutcome:
        """Return success if the task is done at the end. A fault isn't the policy's: unknown, after a recovery."""
        if fault:
            try:
                self.robot.recover()
            except RobotFault as again:
                fault = f"{fault}; {again}"
            return TrialOutcome("unknown", raw=fault)
        outcome: Outcome = "success" if done else "failure"
        return TrialOutcome(outcome)

    def close(self) -> None:
        """Release the simulator."""
        self.robot.close()
