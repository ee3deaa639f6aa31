"""A robot whose numbers are converted to another contract, as a station's `convert: true` declares."""

from __future__ import annotations

import numpy as np

from soar.contract.contract import Contract
from soar.contract.convert import Conversion, beside
from soar.interfaces import Robot
from soar.robots.returned import DriverReader
from soar.types import Action, Image, Observation


class ConvertedRobot:
    """A robot that takes and gives the numbers of another contract. Deltas are relative to the state observed last."""

    def __init__(self, robot: Robot, source: Contract, target: Contract) -> None:
        """Wrap a robot.

        Args:
            robot: the robot.
            source: meaning of its numbers.
            target: meaning of the numbers of this object; cameras have the same names.

        Raises:
            ConfigError: one side drives joints and the other poses.
        """
        self.robot, self.contract = robot, target
        self.period_s = robot.period_s
        self._source = source
        self._bgr = {c.name for c in source.cameras if c.color == "bgr"}
        self._returned = DriverReader(source)
        self._there, self._back = Conversion(source, target), Conversion(target, source)
        self._observed: Observation | None = None

    def observe(self) -> Observation:
        """See `Robot.observe`."""
        seen = self._returned.observation(self.robot.observe())
        self._observed = seen
        first, *_ = self._source.camera_names
        return Observation(
            self._rgb(first, seen.image),
            self._there.state(seen.state),
            seen.time_s,
            {name: self._rgb(name, image) for name, image in seen.other_images.items()},
        )

    def execute(self, action: Action) -> Action:
        """See `Robot.execute`."""
        if self._observed is None:
            self.observe()
        assert self._observed is not None
        state = self._observed.state
        theirs = self._back.action(action, self._there.state(state))
        theirs = beside(theirs, self._source.action, state, self._source.state)
        executed = self._returned.action(self.robot.execute(theirs))
        return self._there.action(executed, state)

    def home(self) -> None:
        """See `Robot.home`."""
        self._observed = None
        self._returned.new_episode()
        self.robot.home()

    def recover(self) -> None:
        """See `Robot.recover`."""
        self._observed = None
        self._returned.restart()
        self.robot.recover()

    def close(self) -> None:
        """See `Robot.close`."""
        self.robot.close()

    def _rgb(self, camera: str, image: Image) -> Image:
        return np.ascontiguousarray(image[..., ::-1]) if camera in self._bgr else image
