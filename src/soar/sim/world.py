"""Simulation of a scene: MuJoCo physics, one fixed camera, and the arm, in control steps.

The state persists from step to step and from episode to episode; only `reset(seed)` places the objects anew. What a
seed randomizes (camera, light, colors) is written into the compiled model, so a reset costs no recompilation.
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
from soar.sim.control import EndEffectorController, Target, Vector3, roll_pitch_yaw
from soar.sim.model import compile_scene
from soar.sim.rendering import Renderer
from soar.sim.scenes import randomization, restyling
from soar.sim.scenes.spec import Goal, Scene
from soar.types import Action, Image, State

log = logging.getLogger(__name__)
# Otherwise MuJoCo writes MUJOCO_LOG.TXT into the working directory. Diverged physics becomes a RobotFault.
mujoco.set_mju_user_warning(lambda message: log.debug("MuJoCo: %s", message))

PERIOD_S = 0.2
"""Duration of a control step [s]."""
CAMERA_PIXELS = 256
"""Default side of a camera image in pixels."""
_CHUNKS = 8
"""Updates of the joint command within a control step."""
_RAMP = 6
"""Updates after which the joint command reaches its target."""
_OVERSHOOT_M = 0.002
"""Distance from the box to which a step may swing or push the end effector."""
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_DIVERGED = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
)
"""MuJoCo's warnings of diverged physics, which it counts until a reset."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """State of a world from which `World.restore` continues exactly."""

    physics: Float64[np.ndarray, "_n"]
    target: Target
    appearance: randomization.Appearance


class World:
    """A scene's physics, camera and arm. Objects have no valid poses before the first `reset`."""

    def __init__(self, scene: Scene, image_size: int = CAMERA_PIXELS) -> None:
        """Compile a scene.

        Args:
            scene: the scene.
            image_size: default side of rendered images in pixels.

        Raises:
            ConfigError: the scene has an unknown kind, color or table.
        """
        self.scene = scene
        self.image_size = image_size
        self.controller = EndEffectorController()
        self.model = compile_scene(scene)
        self.data = mujoco.MjData(self.model)
        self._appearance = randomization.Appearance.of(self.model)
        self._target = self.controller.neutral
        self._renderers: dict[int, Renderer] = {}
        self._site = self.model.site(END_EFFECTOR_SITE).id
        self._arm = np.array([self.model.joint(j).qposadr[0] for j in JOINTS])
        self._fingers = np.array([self.model.joint(f).qposadr[0] for f in FINGERS])
        self._ctrl = np.array([self.model.actuator(a).id for a in (*JOINTS, GRIPPER_ACTUATOR)])
        self._substeps = round(PERIOD_S / _CHUNKS / self.model.opt.timestep)

    def reset(self, seed: int, goal: Goal | None = None) -> None:
        """Place the objects at random, randomize camera, light and colors, and put the arm into its neutral pose.

        Args:
            seed: seed of everything random.
            goal: makes the layout one in which this goal is feasible and doesn't hold.

        Raises:
            NoRoom: the objects don't fit on the table.
        """
        rng = np.random.default_rng(seed)
        mujoco.mj_resetData(self.model, self.data)
        self._appearance.apply(self.model)
        randomization.randomize(self.model, self.scene, rng)
        self._set_arm(self.controller.neutral)
        layout.place(self, rng, goal)
        self.data.time = 0.0
        self._refresh()

    def scatter(self, rng: np.random.Generator) -> None:
        """Drop the objects anywhere, also upon each other, as practice leaves them; the arm stays where it is."""
        layout.scatter(self, rng)
        self._refresh()

    def step(self, action: Action) -> Action:
        """Apply an action for one control step of 0.2 s.

        An action after which momentum or a contact leads the end effector out of the box is tried again, smaller.

        Args:
            action: delta of position [m] and angles [rad], and gripper opening in [0, 1].

        Returns:
            The executed action, after all limits.

        Raises:
            RobotFault: the action isn't finite, or the physics diverged.
        """
        if not np.isfinite(action).all():
            raise RobotFault(f"the action is not finite: {action}")
        position, _ = self.gripper_pose()
        before, target = self._physics(), self._target
        hand = self.data.site_xpos[self._site]
        for number, smaller in enumerate(self.controller.smaller(action, hand)):
            if number:
                mujoco.mj_setState(self.model, self.data, before, _STATE)
            self._target, executed = self.controller.follow(target, smaller, position)
            if self._move() <= _OVERSHOOT_M:
                break
        return executed

    def render(self, size: int | None = None) -> Image:
        """Render the camera's image, of `size` x `size` pixels. Each new size keeps another renderer in memory."""
        size = size or self.image_size
        renderer = self._renderers.get(size)
        if renderer is None:
            renderer = self._renderers[size] = Renderer(self.model, size)
        return renderer.render(self.data)

    def restyle(self, scene: Scene) -> None:
        """Show the world as `scene` would look: the same objects in other colors, with its table, camera and light.

        Lasts until the next `reset` or `restore`, except the table's texture. See `soar.sim.scenes.restyling.restyle`.
        """
        restyling.restyle(self.model, scene)
        self.update_view()
        for renderer in self._renderers.values():
            renderer.upload_texture("tabletop")

    def update_view(self) -> None:
        """Recompute where camera and light are, after the model's have been changed."""
        mujoco.mj_camlight(self.model, self.data)

    def state(self) -> State:
        """Return the measured x, y, z [m], roll, pitch, yaw [rad] and gripper opening in [0, 1]."""
        position, rpy = self.gripper_pose()
        return np.array([*position, *rpy, self.gripper_opening()], np.float32)

    def home(self) -> None:
        """Open the gripper, rise, and move to the neutral pose; objects stay where they are."""
        top = self.controller.config.high[2]
        self._go(self._target.position, steps=2)
        self._go(np.array([*self._target.position[:2], top]), steps=6)
        self._go(self.controller.neutral.position, steps=14)

    def snapshot(self) -> Snapshot:
        """Copy the full state."""
        return Snapshot(self._physics(), self._target, randomization.Appearance.of(self.model))

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot of a world of the same scene, bit for bit on one machine, even after divergence."""
        mujoco.mj_setState(self.model, self.data, snapshot.physics, _STATE)
        for warning in _DIVERGED:
            self.data.warning[warning].number = 0
        self._target = snapshot.target
        snapshot.appearance.apply(self.model)
        self._refresh()

    def fulfilled(self, goal: Goal) -> bool:
        """Return whether a goal holds. Privileged: for measurements and the scripted expert."""
        return predicates.fulfilled(self, goal)

    def objects_lost(self) -> tuple[str, ...]:
        """Return the names of objects out of reach, and of containers that tipped over. Privileged."""
        return predicates.objects_lost(self)

    def object_pose(self, name: str) -> tuple[Vector3, Float64[np.ndarray, "4"]]:
        """Return the position [m] and orientation (w, x, y, z) of an object, or the center of a cloth. Privileged."""
        flex = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_FLEX, name)
        if flex >= 0:
            return self.cloth_vertices(name).mean(axis=0), np.array([1.0, 0, 0, 0])
        body = self.data.body(name)
        return body.xpos.copy(), body.xquat.copy()

    def cloth_vertices(self, name: str) -> Float64[np.ndarray, "v 3"]:
        """Return the positions of a cloth's vertices [m], in the order of its flex. Privileged."""
        flex = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_FLEX, name)
        first, count = self.model.flex_vertadr[flex], self.model.flex_vertnum[flex]
        return np.array(self.data.flexvert_xpos[first : first + count])

    def gripper_pose(self) -> tuple[Vector3, Vector3]:
        """Return the measured position [m] and roll, pitch, yaw [rad] of the end effector."""
        matrix = self.data.site_xmat[self._site].reshape(3, 3)
        return self.data.site_xpos[self._site].copy(), roll_pitch_yaw(matrix)

    def gripper_opening(self) -> float:
        """Return the measured gripper opening, from 0 (closed) to 1 (open)."""
        return float(np.clip(self.data.qpos[self._fingers].mean() / FINGER_TRAVEL_M, 0.0, 1.0))

    @property
    def target(self) -> Target:
        """The commanded pose of the end effector."""
        return self._target

    def held(self, name: str) -> bool:
        """Return whether both fingers touch an object. Privileged."""
        root = self.model.body(name).rootid[0]
        pads = [self.model.geom(f"{f}_pad").id for f in FINGERS]
        touching = set()
        for a, b in self.data.contact.geom:
            for pad, other in ((a, b), (b, a)):
                if pad in pads and self.model.body_rootid[self.model.geom_bodyid[other]] == root:
                    touching.add(pad)
        return len(touching) == 2

    def close(self) -> None:
        """Free the renderers. Safe to call twice."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _go(self, position: Vector3, steps: int) -> None:
        """Take up to `steps` control steps to an upright pose with open fingers."""
        for _ in range(steps):
            offset = position - self._target.position
            turn = -self._target.rpy
            if (
                np.abs(offset).max() < 1e-6
                and np.abs(turn).max() < 1e-6
                and self.gripper_opening() > 0.9
            ):
                return
            self.step(np.array([*offset, *turn, 1.0], np.float32))

    def _set_arm(self, target: Target) -> None:
        self._target = target
        self.data.qpos[self._arm] = target.joints
        self.data.qpos[self._fingers] = target.finger_m
        self.data.ctrl[self._ctrl] = self._command(target)

    def _move(self) -> float:
        """Go towards the commanded pose for a step; return how far out of the box that led [m], <= 0 inside."""
        start, end = self.data.ctrl[self._ctrl].copy(), self._command(self._target)
        outside = -np.inf
        for k in range(1, _CHUNKS + 1):
            self.data.ctrl[self._ctrl] = start + (end - start) * min(1.0, k / _RAMP)
            mujoco.mj_step(self.model, self.data, self._substeps)
            outside = max(outside, self.controller.outside(self.data.site_xpos[self._site]))
        self._refresh()
        return max(outside, self.controller.outside(self.data.site_xpos[self._site]))

    def _physics(self) -> Float64[np.ndarray, "_n"]:
        physics = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, physics, _STATE)
        return physics

    def _command(self, target: Target) -> Float64[np.ndarray, "7"]:
        return np.array([*target.joints, target.finger_m])

    def _refresh(self) -> None:
        """Recompute derived quantities, a substep old after stepping. Raises RobotFault: the physics diverged."""
        mujoco.mj_forward(self.model, self.data)
        if any(self.data.warning[w].number for w in _DIVERGED):
            raise RobotFault("the simulated physics diverged; reset the world")
