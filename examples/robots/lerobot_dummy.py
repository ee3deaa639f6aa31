"""LeRobot's dummy arm with a drawn camera picture: what a factory for an arm of your own looks like.

Runs in LeRobot's environment, which needs no soar. With a real arm and a camera of LeRobot no factory is needed:

    robot: lerobot
    host: [lerobot/bin/python]
    options: {type: so101_follower, port: /dev/ttyACM0,
              cameras: {front: {type: opencv, index_or_path: 0, width: 640, height: 480, fps: 30}}}
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lerobot_robot_dummy.config_dummy_follower import (  # type: ignore[import-not-found]
    DummyFollowerConfig,
)
from lerobot_robot_dummy.dummy_follower import (  # type: ignore[import-not-found]
    DummyFollower,
)


class DrawnArm(DummyFollower):  # type: ignore[misc]
    """The dummy arm, which stays where it is sent and draws its joints."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.at = dict.fromkeys(self.action_features, 0.0)

    @property
    def observation_features(self) -> dict[str, Any]:
        """Joint positions, and one camera."""
        return {**super().observation_features, "front": (64, 64, 3)}

    @property
    def action_features(self) -> dict[str, Any]:
        """Joint positions."""
        return {k: v for k, v in self.observation_features.items() if v is float}

    def get_observation(self) -> dict[str, Any]:
        """Positions and picture."""
        picture = np.full((64, 64, 3), 90, np.uint8)
        for column, value in enumerate(self.at.values()):
            picture[: int(np.clip(32 + value, 1, 63)), 8 * column : 8 * column + 6] = (200, 60, 40)
        return {**self.at, "front": picture}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Go there at once."""
        self.at.update(action)
        sent: dict[str, Any] = super().send_action(action)
        return sent


def make() -> DrawnArm:
    """Return the arm; the host finds out its joints and cameras by itself."""
    return DrawnArm(DummyFollowerConfig(id="dummy", silent=True))
