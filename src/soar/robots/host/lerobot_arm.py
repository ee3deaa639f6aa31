"""LeRobot's robots for the host, beside `robot_host.py` and like it without soar, for Python from 3.10 on."""

from __future__ import annotations

import importlib
import importlib.util
import threading
import time
from typing import Any

import numpy as np


class ConfigError(Exception):
    """A setting isn't valid."""


class LeRobotArm:
    """A LeRobot `Robot` with joint positions as actions and states, the gripper last.

    Its contract names the joints; `soar.robots.ik` drives such an arm by poses.
    """

    def __init__(
        self,
        robot: Any,
        camera: str = "",
        period_s: float = 0.2,
        home: dict[str, float] | None = None,
        gripper: str = "gripper.pos",
        gripper_closed: float = 0.0,
        gripper_open: float = 100.0,
        home_step: float = 2.0,
    ) -> None:
        """Connect.

        Args:
            robot: the robot, connected or not.
            camera: name of the primary camera; "" takes the first one.
            period_s: control period in seconds.
            home: home position of each joint, by name such as "elbow_flex.pos"; None is the pose at the start.
            gripper: name of the gripper's number.
            gripper_closed: its value when closed.
            gripper_open: its value when open.
            home_step: largest change of a number in one period on the way home, in the robot's unit.
        """
        self.robot, self.period_s, self._home_step = robot, period_s, home_step
        if not robot.is_connected:
            robot.connect()
        numbers = [k for k, kind in robot.action_features.items() if kind in (float, "float")]
        self.names = [k for k in numbers if k != gripper] + [k for k in numbers if k == gripper]
        sizes = {k: v for k, v in robot.observation_features.items() if isinstance(v, tuple)}
        if not sizes or (camera and camera not in sizes):
            valid = ", ".join(sizes) or "none: give the robot one in its `cameras`"
            raise ConfigError(f"no camera {camera!r}; this robot has: {valid}")
        self.cameras = sorted(sizes, key=lambda name: name != (camera or next(iter(sizes))))
        joints = [k[:-4] if k.endswith(".pos") else k for k in self.names if k != gripper]
        ends = {"closed": gripper_closed, "open": gripper_open} if gripper in numbers else None
        meaning = {"space": "joints", "joints": joints, "angle": "deg", "gripper": ends}
        self.contract = {
            "action": dict(meaning, reference="absolute"),
            "state": meaning,
            "cameras": [
                {"name": name, "height": sizes[name][0], "width": sizes[name][1]}
                for name in self.cameras
            ],
            "period_s": period_s,
        }
        self._halt = threading.Event()
        self._home = self._positions()
        for name, value in (home or {}).items():
            self._home[self.names.index(name)] = value
        if gripper in numbers:
            self._home[-1] = gripper_open

    def observe(self) -> dict[str, Any]:
        """Return images and joint positions."""
        values, now = self.robot.get_observation(), time.monotonic()
        images = {name: np.asarray(values[name], np.uint8) for name in self.cameras}
        return {
            "image": images.pop(self.cameras[0]),
            "state": np.array([values[name] for name in self.names], np.float32),
            "time_s": now,
            "other_images": images,
        }

    def execute(self, action: np.ndarray) -> np.ndarray:
        """Send target positions; return those that were really sent."""
        targets = {k: float(v) for k, v in zip(self.names, action, strict=False)}
        sent = self.robot.send_action(targets)
        return np.array([sent.get(k, targets[k]) for k in self.names], np.float32)

    def home(self) -> None:
        """Move home in small steps, which `hold` ends."""
        self._halt.clear()
        target = self._positions()
        while not self._halt.is_set() and np.abs(self._home - target).max() > 1e-3:
            target += np.clip(self._home - target, -self._home_step, self._home_step)
            self.execute(target)
            time.sleep(min(self.period_s, 0.05))

    def hold(self) -> None:
        """End the way home; each target sent is only one step away."""
        self._halt.set()

    def recover(self) -> None:
        """Connect anew."""
        if self.robot.is_connected:
            self.robot.disconnect()
        self.robot.connect()

    def close(self) -> None:
        """Disconnect."""
        if self.robot.is_connected:
            self.robot.disconnect()

    def _positions(self) -> np.ndarray:
        values = self.robot.get_observation()
        return np.array([values[name] for name in self.names], np.float64)


def make(type: str, arm: dict[str, Any] | None = None, **options: Any) -> LeRobotArm:
    """Build an installed LeRobot robot. `type`, `options`: as in LeRobot's commands; `arm`: those of `LeRobotArm`."""
    from lerobot.robots import (  # type: ignore[import-not-found]
        RobotConfig,
        make_robot_from_config,
    )

    for package in (f"lerobot.robots.{type}", "lerobot_robot_{}".format(type.split("_")[0])):
        if importlib.util.find_spec(package):
            importlib.import_module(package)
    config = RobotConfig.get_choice_class(type)(**options)
    return LeRobotArm(make_robot_from_config(config), **(arm or {}))
