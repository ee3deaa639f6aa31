"""Any Gymnasium environment with a camera is a robot: here OGBench's cube, behind the same safety as an arm.

python examples/drive_ogbench.py          (needs ogbench: pip install soar-robot[dev])
"""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import ogbench  # noqa: F401  registers its environments

from soar.robots.host.gym_robot import ActionEntry, GymMapping, GymRobot, StateEntry
from soar.robots.limits import Limits
from soar.robots.safety import SafeRobot
from soar.utils.media import write_video

# OGBench's action is five numbers in -1..1: up to 5 cm along x, y, z, up to .3 rad of yaw, and a change
# of the gripper where + closes. Ours is in meters and radians, and 1 opens the gripper.
CUBE = GymMapping(
    instruction="move the cube",
    action=(
        ActionEntry(0, 1 / 0.05),
        ActionEntry(1, 1 / 0.05),
        ActionEntry(2, 1 / 0.05),
        ActionEntry(5, 1 / 0.3),
        ActionEntry(6, -2, 1),
    ),
    state=(
        StateEntry("proprio/effector_pos", 0, 0),
        StateEntry("proprio/effector_pos", 1, 1),
        StateEntry("proprio/effector_pos", 2, 2),
        StateEntry("proprio/effector_yaw", 0, 5),
        StateEntry("proprio/gripper_opening", 0, 6, -1, 1),
    ),
)
BOX = Limits(low=(0.25, -0.35, 0.02), high=(0.60, 0.35, 0.35))  # its arms start inside of it


def main(steps: int = 60) -> None:
    """Wander at random inside the box, and film it."""
    env = gymnasium.make("visual-cube-single-v0", max_episode_steps=10_000)
    robot = SafeRobot(GymRobot(env, CUBE, seed=0), BOX)
    rng = np.random.default_rng(0)
    frames, push = [], np.zeros(6)
    for _ in range(steps):
        seen = robot.observe()
        frames.append(seen.image)
        push = 0.8 * push + 0.2 * rng.normal(0, (0.06, 0.06, 0.03, 0, 0, 0.2))
        robot.execute(np.append(push, 1.0).astype(np.float32))
    path = Path("ogbench.mp4")
    write_video(path, frames)
    print(f"{steps} steps; the hand ended at {robot.observe().state[:3].round(3)}; film: {path}")
    robot.close()


if __name__ == "__main__":
    main()
