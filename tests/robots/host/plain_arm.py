"""An arm for the host's tests that knows nothing of soar, for Python from 3.8 on; it writes what it does to a file."""

import time
from typing import Any

import numpy as np


class RobotFault(Exception):
    """Known by its name."""


class Arm:
    period_s = 0.05

    def __init__(self, log: str = "", home_s: float = 0.0) -> None:
        self.position, self.log, self.home_s = np.zeros(7, np.float32), log, home_s
        self.write("made")

    def write(self, word: str) -> None:
        if self.log:
            with open(self.log, "a") as file:
                file.write(word + "\n")

    def observe(self) -> Any:
        image = np.full((8, 8, 3), 7, np.uint8)
        other = {"wrist": np.full((4, 6, 3), 9, np.uint8)}
        return {
            "image": image,
            "state": self.position.copy(),
            "time_s": time.monotonic(),
            "other_images": other,
        }

    def execute(self, action: Any) -> Any:
        if action[0] > 1:
            raise RobotFault("motor 3 is hot")
        if action[0] < -1:
            raise ValueError("no such joint")
        self.write(f"execute {action[0]:g} {action[-1]:g}")
        self.position = self.position + action
        return action

    def home(self) -> None:
        self.write("homing")
        time.sleep(self.home_s)
        self.write("home")

    def recover(self) -> None:
        self.write("recover")

    def close(self) -> None:
        self.write("close")


class HoldingArm(Arm):
    """An arm that can be stopped while another call runs."""

    contract = {"period_s": 0.05}  # noqa: RUF012

    def hold(self) -> None:
        self.write("hold")


class UnknownArm(Arm):
    """An arm whose contract soar doesn't know."""

    contract = {"action": {"rotation": "rpq"}}  # noqa: RUF012


class Simulator(Arm):
    """An arm whose time stands still between steps."""

    def truth(self, instruction: str) -> bool:
        return instruction == "done"

    def reset(self, seed: int) -> None:
        self.write(f"reset {seed}")


def refuse() -> None:
    raise OSError("no /dev/ttyUSB0")
