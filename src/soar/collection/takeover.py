"""Takeovers by the keyboard of the terminal in which one station collects."""

from __future__ import annotations

import sys
import time

from soar.contract.contract import Contract
from soar.errors import ConfigError
from soar.robots.operation.teleoperation import MOTION_HELP, Keyboard
from soar.rollout.contracts import robot_contract
from soar.rollout.station import Station
from soar.rollout.takeover import TakenAction, Takeover
from soar.types import Action, Observation
from soar.utils.progress import console

TAKEOVER_KEY = "t"


class TakeoverKeys:
    """Keys of the takeovers at one station, before and after it is opened."""

    def __init__(self) -> None:
        self._takeover: KeyboardTakeover | None = None

    def make(self, station: Station) -> Takeover | None:
        """Return the takeover of an opened station; None for an arm that keys can't move."""
        try:
            self._takeover = KeyboardTakeover(robot_contract(station.robot))
        except ConfigError:
            return None
        if sys.stdin.isatty():
            console.print(
                f"{TAKEOVER_KEY}: take the arm, give it back   {MOTION_HELP}", style="dim"
            )
        return self._takeover

    def press(self, key: str) -> None:
        """Take a key, from any thread."""
        if self._takeover is not None:
            self._takeover.press(key)


class KeyboardTakeover:
    """A person at the terminal, who takes the arm and gives it back with "t" and moves it with `soar record`'s keys.

    While they have it, control steps come at the arm's period, even where a simulated arm needn't wait. The arm
    stays where it is while no key is pressed. The next episode begins with the policy.
    """

    def __init__(self, contract: Contract) -> None:
        """Take an arm's contract. Raises ConfigError: keys can't move it."""
        self._keyboard, self._contract = Keyboard(contract), contract
        self._has_arm, self._was_policy = False, True
        self._next_s = 0.0

    def press(self, key: str) -> None:
        """Take a key, from any thread."""
        if key == TAKEOVER_KEY:
            self._has_arm = not self._has_arm
            console.print("you have the arm" if self._has_arm else "the policy has the arm")
        elif self._has_arm:
            self._keyboard.press(key)

    def start(self, instruction: str) -> None:
        """See `Takeover.start`."""
        self._has_arm, self._was_policy = False, True
        self._keyboard.reset()

    def act(self, index: int, observation: Observation, action: Action) -> TakenAction | None:
        """See `Takeover.act`."""
        if not self._has_arm:
            self._was_policy = True
            return None
        state = self._contract.state
        if self._was_policy and state.gripper is not None:
            ends = state.gripper
            opening = (float(observation.state[-1]) - ends.closed) / (ends.open - ends.closed)
            self._keyboard.hand.take(opening)
        self._was_policy = False
        now = time.monotonic()
        time.sleep(max(0.0, self._next_s - now))
        self._next_s = max(now, self._next_s) + self._contract.period_s
        return TakenAction(self._keyboard.hand.still(self._keyboard.directions()), "person")
