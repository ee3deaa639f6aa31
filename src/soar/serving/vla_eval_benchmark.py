"""The simulated scenes as a benchmark of vla-eval (AllenAI's evaluation harness), which its command names:

    benchmark: soar.serving.vla_eval_benchmark:SoarScenes

Starts, safety limits, length and strict success are those of `soar evaluate`: a task's episode i is its trial with seed
`seed + i`. Needs the package vla-eval, which soar doesn't install.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.render import configure_mujoco_render
from vla_eval.specs import IMAGE_RGB, LANGUAGE, POSITION_DELTA, ROTATION_EULER, DimSpec

from soar.errors import ConfigError
from soar.robots.safety import SafeRobot
from soar.robots.simulated import SimRobot, scene_of
from soar.types import ACTION_DIM, Observation

PAPER_SCENES = tuple(str(i) for i in range(1, 11))
MAX_STEPS = 100
"""Control steps of an episode: five subgoals of twenty steps (paper, section 3)."""


class SoarScenes(StepBenchmark):  # type: ignore[misc]  # its package has no types here
    """Tasks of some scenes, each judged by its strict predicate after 100 control steps.

    Observations hold `images.primary`, uint8 (256, 256, 3), `task_description`, and with `send_state` `states`, float32
    (7): x, y, z [m], roll, pitch, yaw [rad], gripper opening in [0, 1]. Actions, `actions` (7): change of position [m]
    and of angles [rad], and gripper opening.
    """

    render_backends: ClassVar[frozenset[str]] = frozenset({"gpu", "cpu"})

    def __init__(
        self,
        scenes: Sequence[str] = PAPER_SCENES,
        seed: int = 0,
        send_state: bool = True,
        stop_at_success: bool = False,
    ) -> None:
        """Configure the benchmark.

        Args:
            scenes: names or YAML files of scenes, as for `soar evaluate`.
            seed: seed of the first episode of each task.
            send_state: whether observations hold the state.
            stop_at_success: whether an episode ends as a success once its task is done; the success of `soar evaluate`
                is that after all steps.

        Raises:
            ConfigError: there is no such scene.
        """
        super().__init__()
        self._scenes = {str(name): scene_of(str(name)) for name in scenes}
        self._seed, self._send_state, self._stop = seed, send_state, stop_at_success
        self._name = ""
        self._sim: SimRobot | None = None
        self._robot: SafeRobot[SimRobot] | None = None

    @classmethod
    def configure_render(cls, mode: str) -> dict[str, str]:
        """Choose MuJoCo's renderer before it is imported."""
        return dict(configure_mujoco_render(mode))

    def get_tasks(self) -> list[dict[str, Any]]:
        """Return all tasks of all scenes."""
        return [
            {"name": task.instruction, "suite": f"scene {name}", "scene": name}
            for name, scene in self._scenes.items()
            for task in scene.tasks
        ]

    def reset(self, task: Mapping[str, Any]) -> Observation:
        """Set the start of an episode. Raises ConfigError: the scene has no such task."""
        name, instruction = task["scene"], task["name"]
        if self._sim is None or name != self._name:
            self.cleanup()
            self._sim, self._name = SimRobot(self._scenes[name], seed=0), name
        goal = self._scenes[name].task(instruction).goal
        self._sim.world.reset(self._seed + task.get("episode_idx", 0), goal=goal)
        self._robot = SafeRobot(self._sim)
        return self._seen()

    def step(self, action: Mapping[str, Any]) -> StepResult:
        """Take one control step of 0.2 s. Raises ConfigError: the action has another shape."""
        given = np.asarray(action.get("actions", action.get("action")), np.float32)
        if given.shape != (ACTION_DIM,) or self._sim is None or self._robot is None:
            raise ConfigError(
                f"an action has shape ({ACTION_DIM},) and follows a reset; got {given.shape}"
            )
        self._robot.execute(given)
        success = self._sim.truth(self._task["name"])
        done = success and self._stop
        return StepResult(self._seen(), float(success), done, {"success": success})

    def make_obs(self, raw_obs: Observation, task: Mapping[str, Any]) -> dict[str, Any]:
        """Return an observation in vla-eval's usual keys."""
        state = {"states": raw_obs.state} if self._send_state else {}
        images = {"primary": raw_obs.image}
        return {"images": images, "task_description": task["name"], **state}

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        """Return whether the task is done, and how many objects left the table."""
        lost = len(self._sim.lost()) if self._sim else 0
        return {"success": bool(step_result.info.get("success")), "lost": lost}

    def get_metric_keys(self) -> dict[str, str]:
        """Return the aggregated metrics: the success rate and the mean number of lost objects."""
        return {"success": "mean", "lost": "mean"}

    def get_metadata(self) -> dict[str, Any]:
        """Return the length of an episode."""
        return {"max_steps": MAX_STEPS, "scenes": list(self._scenes)}

    def get_action_spec(self) -> dict[str, DimSpec]:
        """Return the meaning of actions."""
        opening = DimSpec("gripper", 1, "continuous_01", (0, 1), description="0 closed, 1 open")
        return {"position": POSITION_DELTA, "rotation": ROTATION_EULER, "gripper": opening}

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """Return the meaning of observations."""
        state = DimSpec("state", 7, "eef_pos3_euler3_gripper1")
        sent = {"state": state} if self._send_state else {}
        return {"image": IMAGE_RGB, "language": LANGUAGE, **sent}

    def get_hold_action(self, last_action: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the action that stays in place with the last gripper command."""
        opening = 1.0 if last_action is None else float(np.ravel(last_action["actions"])[-1])
        return {"actions": np.array([0, 0, 0, 0, 0, 0, opening], np.float32)}

    def cleanup(self) -> None:
        """Free the renderer."""
        if self._sim is not None:
            self._sim.close()
            self._sim = self._robot = None

    def render(self) -> np.ndarray | None:
        """Return the camera's image; None before an episode."""
        return None if self._sim is None else self._sim.observe().image

    def _seen(self) -> Observation:
        assert self._robot is not None
        return self._robot.observe()
