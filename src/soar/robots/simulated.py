"""The simulated station: a `soar.sim` world behind the Robot protocol."""

from __future__ import annotations

from soar.errors import ConfigError
from soar.sim.scenes.catalog import load_scene
from soar.sim.scenes.spec import Scene
from soar.sim.world import World
from soar.types import Action, Observation
from soar.utils.clock import Clock

HOMING_S = 1.5
"""How long the paper's arm takes to its neutral pose; a real-time simulated one takes as long."""


class SimRobot:
    """The simulated arm with its camera. Things stay where they are from episode to episode.

    With `realtime` its observations carry the clock's time and homing takes as long as on the real arm,
    so that a control loop can be timed as on one; the loop keeps the period.
    """

    period_s = 0.2

    def __init__(
        self,
        scene: Scene,
        seed: int,
        realtime: bool = False,
        *,
        image_size: int = 256,
        clock: Clock | None = None,
    ) -> None:
        self.scene = scene
        self.world = World(scene, image_size)
        self._clock = (clock or Clock()) if realtime else None
        self._time_s = 0.0
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """The hand of a person: everything is put somewhere on the table, the arm goes home."""
        self.world.reset(seed)

    def observe(self) -> Observation:
        """The camera's picture and the arm's pose now."""
        now = self._time_s if self._clock is None else self._clock.now()
        return Observation(self.world.render(), self.world.state(), now)

    def execute(self, action: Action) -> Action:
        """One control step; returns at once, also in real time, like an arm that is told where to go."""
        self._time_s += self.period_s
        return self.world.step(action)

    def home(self) -> None:
        """Arm to neutral, gripper open."""
        self._time_s += HOMING_S
        self.world.home()
        if self._clock is not None:
            self._clock.sleep(HOMING_S)

    def recover(self) -> None:
        """Nothing breaks in here; home is a safe place to go on from."""
        self.world.home()

    def close(self) -> None:
        """Release the renderer."""
        self.world.close()

    def truth(self, instruction: str) -> bool:
        """Whether the scene's task is fulfilled now: for measuring, never for a component of the loop."""
        for task in self.scene.tasks:
            if task.instruction == instruction:
                return self.world.fulfilled(task.goal)
        names = ", ".join(f"'{task.instruction}'" for task in self.scene.tasks)
        raise ConfigError(f"scene {self.scene.name} has no task '{instruction}'; there is: {names}")

    def lost(self) -> tuple[str, ...]:
        """Things that have left the table: for measuring, and for a simulated person to put back."""
        return self.world.objects_lost()


def scene_of(scene: str | int = "1", **_: object) -> Scene:
    """Return the scene of a station file with `robot: sim`; further options of the robot don't matter.

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
    image_size: int = 256,
) -> SimRobot:
    """Build the robot of a station file with `robot: sim`; the last two arguments are its options."""
    return SimRobot(scene_of(scene), seed, realtime, image_size=image_size, clock=clock)
