"""The simulated arm behind the Robot protocol; the only driver that knows the simulator."""

from __future__ import annotations

from soar.contract.contract import WIDOWX
from soar.sim.scenes.catalog import load_scene
from soar.sim.scenes.spec import Scene
from soar.sim.world import CAMERA_PIXELS, PERIOD_S, World
from soar.types import Action, Observation
from soar.utils.clock import Clock

HOMING_S = 1.5
"""Duration of the paper's arm's motion to its neutral pose, and of a real-time simulated arm's [s]."""


class SimRobot:
    """A simulated arm with its camera. Objects stay where they are from episode to episode.

    With `realtime`, observations carry the clock's time and homing takes as long as on the real arm, so that a control
    loop can be timed as on one; the loop keeps the period.
    """

    period_s = PERIOD_S
    contract = WIDOWX

    def __init__(
        self,
        scene: Scene,
        seed: int,
        realtime: bool = False,
        *,
        image_size: int = CAMERA_PIXELS,
        clock: Clock | None = None,
    ) -> None:
        self.scene = scene
        self.world = World(scene, image_size)
        self._clock = (clock or Clock()) if realtime else None
        self._time_s = 0.0
        control = self.world.controller.config
        self.command_box = control.low, control.high
        """Box in which the simulator keeps the commanded position."""
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Place the objects at random and put the arm into its neutral pose, as a person would."""
        self.world.reset(seed)

    def observe(self) -> Observation:
        """Return the camera's image and the arm's state."""
        now = self._time_s if self._clock is None else self._clock.now()
        return Observation(self.world.render(), self.world.state(), now)

    def execute(self, action: Action) -> Action:
        """Take one control step and return the executed action; returns at once, also in real time."""
        self._time_s += self.period_s
        return self.world.step(action)

    def home(self) -> None:
        """Move the arm to its neutral pose with an open gripper."""
        self._time_s += HOMING_S
        self.world.home()
        if self._clock is not None:
            self._clock.sleep(HOMING_S)

    def recover(self) -> None:
        """Move the arm home; a simulated arm has no faults to clear."""
        self.world.home()

    def close(self) -> None:
        """Free the renderer."""
        self.world.close()

    def truth(self, instruction: str) -> bool:
        """Return whether a task of the scene is fulfilled. Privileged: for measurements only.

        Raises:
            ConfigError: the scene has no such task.
        """
        return self.world.fulfilled(self.scene.task(instruction).goal)

    def lost(self) -> tuple[str, ...]:
        """Return the names of objects out of reach. Privileged: for measurements, and a simulated person."""
        return self.world.objects_lost()


def scene_of(scene: str | int = "1", **_: object) -> Scene:
    """Return the scene of a station file with `robot: sim`; further options of the robot are ignored.

    Raises:
        ConfigError: there is no such scene.
    """
    return load_scene(str(scene))


def make_sim_robot(
    *,
    seed: int,
    realtime: bool,
    clock: Clock | None,
    scene: str | int = "1",
    image_size: int = CAMERA_PIXELS,
) -> SimRobot:
    """Build the robot of a station file with `robot: sim`; its options are `scene` and `image_size`."""
    return SimRobot(scene_of(scene), seed, realtime, image_size=image_size, clock=clock)
