"""A scene made real: MuJoCo physics, one fixed camera, and the arm, one control step at a time.

State goes on from step to step and from episode to episode; only `reset(seed)`, the hand of a person,
puts things back. What a seed varies (camera, light, colours) is written into the compiled model, so a
reset costs no recompilation.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float64

from soar.errors import RobotFault
from soar.sim import layout, predicates
from soar.sim.arm import END_EFFECTOR_SITE, FINGER_TRAVEL_M, FINGERS, GRIPPER_ACTUATOR, JOINTS
from soar.sim.control import ControlConfig, EndEffectorController, Target, Vector3, roll_pitch_yaw
from soar.sim.model import compile_scene
from soar.sim.rendering import Renderer
from soar.sim.scenes import randomization
from soar.sim.scenes.spec import Goal, Scene
from soar.types import Action, Image, State

log = logging.getLogger(__name__)
# Else MuJoCo writes MUJOCO_LOG.TXT into whatever folder one is in. What matters becomes a RobotFault.
mujoco.set_mju_user_warning(lambda message: log.debug("MuJoCo: %s", message))

PERIOD_S = 0.2
"""One control step."""
_CHUNKS = 8
"""The joint command moves this often within a control step, ..."""
_RAMP = 6
"""... and has arrived after so many of them."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that `World.restore` needs to go on exactly from here."""

    physics: Float64[np.ndarray, "_n"]
    target: Target
    look: randomization.Appearance


class World:
    """A scene's physics, camera and arm. Not placed before the first `reset`."""

    def __init__(
        self, scene: Scene, image_size: int = 256, control: ControlConfig | None = None
    ) -> None:
        """Compile `scene`. Raises ConfigError for a kind, colour or table that doesn't exist."""
        self.scene = scene
        self.image_size = image_size
        self.controller = EndEffectorController(control)
        self.model = compile_scene(scene)
        self.data = mujoco.MjData(self.model)
        self._plain = randomization.Appearance.of(self.model)
        self._target = self.controller.neutral
        self._renderers: dict[int, Renderer] = {}
        self._site = self.model.site(END_EFFECTOR_SITE).id
        self._arm = np.array([self.model.joint(j).qposadr[0] for j in JOINTS])
        self._fingers = np.array([self.model.joint(f).qposadr[0] for f in FINGERS])
        self._ctrl = np.array([self.model.actuator(a).id for a in (*JOINTS, GRIPPER_ACTUATOR)])
        self._substeps = round(PERIOD_S / _CHUNKS / self.model.opt.timestep)

    def reset(self, seed: int, goal: Goal | None = None) -> None:
        """Place everything anew: things, camera, light and colours follow `seed`; the arm is at home.

        With a `goal`, things are placed so that it can be reached and isn't fulfilled yet.
        """
        rng = np.random.default_rng(seed)
        mujoco.mj_resetData(self.model, self.data)
        self._plain.put(self.model)
        randomization.vary(self.model, self.scene, rng)
        self._set_arm(self.controller.neutral)
        layout.place(self, rng, goal)
        self.data.time = 0.0
        self._refresh()

    def step(self, action: Action) -> Action:
        """Move for one control step of 0.2 s and return the action really executed.

        Raises:
            RobotFault: the action isn't finite, or the physics diverged.
        """
        if not np.isfinite(action).all():
            raise RobotFault(f"the action is not finite: {action}")
        position, _ = self.gripper_pose()
        self._target, executed = self.controller.follow(self._target, action, position)
        start, end = self.data.ctrl[self._ctrl].copy(), self._command(self._target)
        for k in range(1, _CHUNKS + 1):
            self.data.ctrl[self._ctrl] = start + (end - start) * min(1.0, k / _RAMP)
            mujoco.mj_step(self.model, self.data, self._substeps)
        self._refresh()
        return executed

    def render(self, size: int | None = None) -> Image:
        """What the camera sees now, square. A first image of a new size costs some memory."""
        size = size or self.image_size
        renderer = self._renderers.get(size)
        if renderer is None:
            renderer = self._renderers[size] = Renderer(self.model, size)
        return renderer.render(self.data)

    def state(self) -> State:
        """The hand's measured pose, and the gripper's opening."""
        position, rpy = self.gripper_pose()
        return np.array([*position, *rpy, self.gripper_opening()], np.float32)

    def home(self) -> None:
        """Open the gripper, go up, and over to the neutral pose; things stay where they are."""
        top = self.controller.config.high[2]
        self._go(self._target.position, steps=2)
        self._go(np.array([*self._target.position[:2], top]), steps=6)
        self._go(self.controller.neutral.position, steps=14)

    def snapshot(self) -> Snapshot:
        """The full state, to come back to."""
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.empty(mujoco.mj_stateSize(self.model, kind))
        mujoco.mj_getState(self.model, self.data, physics, kind)
        return Snapshot(physics, self._target, randomization.Appearance.of(self.model))

    def restore(self, snapshot: Snapshot) -> None:
        """Go on exactly from `snapshot`, taken in a world of the same scene: bit for bit on one machine."""
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        mujoco.mj_setState(self.model, self.data, snapshot.physics, kind)
        self._target = snapshot.target
        snapshot.look.put(self.model)
        self._refresh()

    def fulfilled(self, goal: Goal) -> bool:
        """Whether `goal` holds now. Privileged: for measuring, and for the scripted expert."""
        return predicates.fulfilled(self, goal)

    def objects_lost(self) -> tuple[str, ...]:
        """Things that have left the table or can't be reached any more. Privileged."""
        return predicates.objects_lost(self)

    def object_pose(self, name: str) -> tuple[Vector3, Float64[np.ndarray, "4"]]:
        """Position and orientation (w, x, y, z) of a thing's body; a cloth's centre. Privileged."""
        flex = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_FLEX, name)
        if flex >= 0:
            return self.cloth_vertices(name).mean(axis=0), np.array([1.0, 0, 0, 0])
        body = self.data.body(name)
        return body.xpos.copy(), body.xquat.copy()

    def cloth_vertices(self, name: str) -> Float64[np.ndarray, "v 3"]:
        """Positions of a cloth's vertices, in the order of its flex. Privileged."""
        flex = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_FLEX, name)
        first, count = self.model.flex_vertadr[flex], self.model.flex_vertnum[flex]
        return np.array(self.data.flexvert_xpos[first : first + count])

    def gripper_pose(self) -> tuple[Vector3, Vector3]:
        """Measured position [m] and roll, pitch, yaw [rad] of the hand."""
        matrix = self.data.site_xmat[self._site].reshape(3, 3)
        return self.data.site_xpos[self._site].copy(), roll_pitch_yaw(matrix)

    def gripper_opening(self) -> float:
        """Measured, 0 closed to 1 open."""
        return float(np.clip(self.data.qpos[self._fingers].mean() / FINGER_TRAVEL_M, 0.0, 1.0))

    @property
    def target(self) -> Target:
        """The commanded pose of the hand."""
        return self._target

    def held(self, name: str) -> bool:
        """Whether both fingers touch the thing. Privileged."""
        thing = self.model.body(name).rootid[0]
        pads = [self.model.geom(f"{f}_pad").id for f in FINGERS]
        touching = set()
        for a, b in self.data.contact.geom:
            for pad, other in ((a, b), (b, a)):
                if pad in pads and self.model.body_rootid[self.model.geom_bodyid[other]] == thing:
                    touching.add(pad)
        return len(touching) == 2

    def close(self) -> None:
        """Free the renderers. Safe to call twice."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _go(self, position: Vector3, steps: int) -> None:
        """Up to `steps` control steps towards a pose above, upright and open."""
        for _ in range(steps):
            away = position - self._target.position
            turn = -self._target.rpy
            if (
                np.abs(away).max() < 1e-6
                and np.abs(turn).max() < 1e-6
                and self.gripper_opening() > 0.9
            ):
                return
            self.step(np.array([*away, *turn, 1.0], np.float32))

    def _set_arm(self, target: Target) -> None:
        self._target = target
        self.data.qpos[self._arm] = target.joints
        self.data.qpos[self._fingers] = target.finger_m
        self.data.ctrl[self._ctrl] = self._command(target)

    def _command(self, target: Target) -> Float64[np.ndarray, "7"]:
        return np.array([*target.joints, target.finger_m])

    def _refresh(self) -> None:
        """Bring everything derived up to the present state; stepping leaves it one substep behind."""
        mujoco.mj_forward(self.model, self.data)
        bad = mujoco.mjtWarning
        if any(self.data.warning[w].number for w in (bad.mjWARN_BADQPOS, bad.mjWARN_BADQVEL, bad.mjWARN_BADQACC)):  # fmt: skip
            raise RobotFault("the simulated physics diverged; reset the world")
