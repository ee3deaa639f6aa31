"""Simulated scenes as Gymnasium environments: `soar/Scene1-v0` to `10`, `soar/Dev1-v0` to `12`, `soar/Bridge-v0`.

>>> import gymnasium
>>> env = gymnasium.make("soar.sim.env:soar/Scene1-v0", task="put the green block in the wooden bowl")
>>> envs = gymnasium.make_vec("soar.sim.env:soar/Scene1-v0", num_envs=4, vectorization_mode="async")

Importing this module registers them. The part before the colon makes Gymnasium import it: since version 1 there is no
entry point group by which a package registers environments of its own accord.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from soar.errors import ConfigError
from soar.sim.scenes.catalog import DEVELOPMENT, UNTOUCHED, load_scene
from soar.sim.scenes.spec import Scene, SceneTask
from soar.sim.world import CAMERA_PIXELS, World
from soar.types import ACTION_DIM, STATE_DIM, Action, Image

MAX_STEPS = 100
"""Control steps of an episode: five subgoals of twenty steps (paper, section 3)."""

_STEP = np.array([0.05, 0.05, 0.05, 0.35, 0.35, 0.35], np.float32)
Observation = dict[str, Any]


class TabletopEnv(gymnasium.Env[Observation, Action]):
    """One task in one scene, with reward 1.0 while it is fulfilled by its strict predicate, and termination then.

    Observation: `image`, uint8 (size, size, 3), and `state`, float32 (7): x, y, z [m], roll, pitch, yaw [rad], gripper
    opening in [0, 1]. Action: float32 (7) in [-1, 1]: change of position by up to 5 cm and of angles by up to 0.35 rad,
    and gripper (1 is open). Info: `instruction`, `success`, `lost` (objects out of reach, containers that tipped over).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012  Gymnasium's contract

    def __init__(
        self,
        scene: str = "1",
        task: str | None = None,
        image_size: int = CAMERA_PIXELS,
        render_mode: str | None = None,
        terminate: bool = True,
    ) -> None:
        """Configure the environment.

        Args:
            scene: name of a scene or a YAML file, as for `soar.sim.scenes.catalog.load_scene`; "bridge" samples another
                scene at each reset.
            task: instruction of the scene; None samples one at each reset. `reset(options={"task": ...})` overrides it.
            image_size: side of the image in pixels.
            render_mode: "rgb_array" or None.
            terminate: whether an episode ends when the task is fulfilled; without it, `success` after the last of 100
                steps is the success of the paper and of `soar evaluate`.
        """
        self.render_mode = render_mode
        self._name, self._task_name, self._size = scene, task, image_size
        self._terminate = terminate
        self._world: World | None = None
        self._task: SceneTask | None = None
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (image_size, image_size, 3), np.uint8),
                "state": spaces.Box(-2 * np.pi, 2 * np.pi, (STATE_DIM,), np.float32),
            }
        )
        self.action_space = spaces.Box(-1, 1, (ACTION_DIM,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Place the objects anew and choose the task. Raises ConfigError: the scene has no such task."""
        super().reset(seed=seed)
        place_seed = int(self.np_random.integers(2**31))
        world = self._build(place_seed)
        self._task = self._choose(world.scene, (options or {}).get("task", self._task_name))
        world.reset(place_seed, goal=self._task.goal)
        return _observe(world), self._info(world, False)

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take one control step of 0.2 s. Raises ConfigError: there was no reset."""
        world = self._world
        if world is None or self._task is None:
            raise ConfigError("reset() comes before step()")
        clipped = np.clip(action, -1, 1).astype(np.float32)
        world.step(np.append(clipped[:6] * _STEP, (clipped[6] + 1) / 2).astype(np.float32))
        success = world.fulfilled(self._task.goal)
        return (
            _observe(world),
            float(success),
            success and self._terminate,
            False,
            self._info(world, success),
        )

    def render(self) -> Image | None:
        """Render the camera's image; None without `rgb_array` mode or before a reset."""
        if self.render_mode is None or self._world is None:
            return None
        return self._world.render()

    def close(self) -> None:
        """Free the renderer."""
        if self._world is not None:
            self._world.close()
            self._world = None

    def _build(self, seed: int) -> World:
        bridge = self._name == "bridge"
        if self._world is None or bridge:
            self.close()
            scene = load_scene(f"bridge-{seed}" if bridge else self._name)
            self._world = World(scene, self._size)
        return self._world

    def _choose(self, scene: Scene, name: str | None) -> SceneTask:
        if name is None:
            return scene.tasks[int(self.np_random.integers(len(scene.tasks)))]
        return scene.task(name)

    def _info(self, world: World, success: bool) -> dict[str, Any]:
        assert self._task is not None
        lost = world.objects_lost()
        return {"instruction": self._task.instruction, "success": success, "lost": lost}


def _observe(world: World) -> Observation:
    return {"image": world.render(), "state": world.state()}


def _register() -> None:
    """Register every scene that has a name."""
    named = {f"Scene{i}": str(i) for i in range(1, 11)}
    named |= {name.capitalize(): name for name in (*DEVELOPMENT, *UNTOUCHED, "bridge")}
    for title, scene in named.items():
        gymnasium.register(
            id=f"soar/{title}-v0",
            entry_point="soar.sim.env:TabletopEnv",
            max_episode_steps=MAX_STEPS,
            kwargs={"scene": scene},
        )


_register()
