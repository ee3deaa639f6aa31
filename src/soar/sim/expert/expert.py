"""Scripted expert for every kind of goal. Privileged: it reads object poses; no component of the loop may use it.

Each script is a generator that reads the world before every action, so that a grasp that slipped is tried again. It
starts from any state of the arm, and ends with open fingers above the objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np

from soar.sim.arm import FINGERTIP_OFFSET_M
from soar.sim.expert import grasps
from soar.sim.expert.grasps import Grasp
from soar.sim.expert.motion import ScriptedGripper
from soar.sim.objects.cloth import WIDTH_M, hem_site
from soar.sim.objects.door import SWING_RAD, handle_site, hinge_joint
from soar.sim.objects.drawer import TRAVEL_M, knob_site, slide_joint
from soar.sim.objects.kinds import kind_of
from soar.sim.scenes.spec import ClothFolded, DoorOpen, DrawerOpen, Goal, Inside, OnSide, Stacked
from soar.sim.world import World
from soar.types import Action
from soar.utils.trajectories import MotionConfig, Vector3

Script = Iterator[Action]
T = TypeVar("T")
_OPEN, _CLOSED = 1.0, 0.0
_ATTEMPTS = 8
_STACK_M = 0.006
"""Largest distance from the release point on another item [m]."""
_MAX_REACH_STEPS = 45
"""Control steps after which a motion has failed."""


def read_ahead(world: World, goal: Goal, steps: int, seed: int, read: Callable[[], T]) -> T:
    """Return what `read` finds after `steps` control steps of an expert. The world stays as it is, whatever happens."""
    now = world.snapshot()
    try:
        expert = Expert(world, goal, np.random.default_rng(seed), noise=0.0)
        for _ in range(steps):
            if expert.done:
                break
            world.step(expert.act())
        return read()
    finally:
        world.restore(now)


class Expert:
    """A policy that acts until a goal holds: `while not expert.done: world.step(expert.act())`."""

    def __init__(
        self,
        world: World,
        goal: Goal,
        rng: np.random.Generator,
        noise: float = 1.0,
        speed: float = 1.0,
        motion: MotionConfig | None = None,
        predictable: bool = False,
    ) -> None:
        """Prepare to act in a world.

        Args:
            world: scene and state.
            goal: the goal to reach.
            rng: source of noise and choices.
            noise: factor on the noise of `motion`; 0 moves straight.
            speed: factor on the speeds of `motion`.
            motion: speed limits and noise.
            predictable: whether items are put down at the nearest free place rather than a random one nearby, so that
                what it does follows from what is seen.
        """
        self._places = None if predictable else rng
        motion = motion or MotionConfig()
        self.world, self.goal, self._rng = world, goal, rng
        self.done = False
        self._attempt = 0
        self._gripper = ScriptedGripper(
            world,
            replace(
                motion,
                step_m=motion.step_m * speed,
                turn_rad=motion.turn_rad * speed,
                noise_m=motion.noise_m * noise,
                noise_rad=motion.noise_rad * noise,
            ),
            rng,
        )
        self._script = self._until_fulfilled()

    @property
    def commanded(self) -> Action:
        """The last action without its noise, which is the better label."""
        return self._gripper.commanded

    def act(self) -> Action:
        """Return the next action; once done, the one that holds still with open fingers."""
        action = next(self._script, None)
        if action is None:
            self.done = True
            return self._gripper.hold(_OPEN)
        return action

    def _until_fulfilled(self) -> Script:
        """Try until the goal holds in two control steps in a row."""
        attempt, done = self._attempt_for(self.goal), False
        for self._attempt in range(_ATTEMPTS):
            if not self.world.fulfilled(self.goal):
                yield from attempt()
            yield from self._retreat()
            for _ in range(3):
                done_before, done = done, self.world.fulfilled(self.goal)
                if done_before and done:
                    return
                yield self._gripper.hold(_OPEN)

    def _attempt_for(self, goal: Goal) -> Callable[[], Script]:
        match goal:
            case Inside(obj, container, value):
                if value:
                    return lambda: self._put(obj, lambda: self._above_container(obj, container))
                return lambda: self._put(obj, lambda: self._above_table(obj, None))
            case OnSide(obj, side):
                return lambda: self._put(obj, lambda: self._above_table(obj, side))
            case DrawerOpen(drawer, value):
                return lambda: self._slide(drawer, TRAVEL_M if value else 0.0)
            case DoorOpen(cabinet, value):
                return lambda: self._swing(cabinet, SWING_RAD if value else 0.0)
            case ClothFolded(cloth, value):
                return lambda: self._fold(cloth, value)
            case Stacked(obj, base, value):
                if value:
                    return lambda: self._put(obj, lambda: self._above_item(base), _STACK_M)
                return lambda: self._put(obj, lambda: self._above_table(obj, None))

    # Pick and place ---------------------------------------------------------------------------------

    def _put(
        self, name: str, destination: Callable[[], Vector3], within_m: float = 0.012
    ) -> Script:
        """Grasp an item unless it is held, carry it to a destination, and release it. Ends early when it slips."""
        if not self.world.held(name):
            yield from self._pick(name)
        if not self.world.held(name):
            return
        point = destination()
        clear = self._carry_height(name)
        for _ in range(_MAX_REACH_STEPS):
            if not self.world.held(name):
                return
            position, yaw = self.world.gripper_pose()[0], self.world.target.rpy[2]
            offset = position - self.world.object_pose(name)[0]
            offset[2] = position[2] - grasps.item_height(self.world, name)[0]
            goal = self._inside_box(point + offset)
            if self._gripper.is_at(goal, yaw, within_m) or self._gripper.is_stuck():
                break
            yield self._gripper.approach(goal, yaw, _CLOSED, clear)
        yield from self._hold(_OPEN, 2)

    def _pick(self, name: str) -> Script:
        """Reach for an item with open fingers, close them, and lift it a little."""
        yield from self._release()
        grasp, seen = self._choose_grasp(name), self.world.object_pose(name)[0]

        def pose() -> Grasp:
            nonlocal grasp, seen
            moved = self.world.object_pose(name)[0] - seen
            if np.linalg.norm(moved) > 0.01:
                grasp, seen = self._choose_grasp(name), seen + moved
            return grasp

        yield from self._reach_and_close(pose)
        yield from self._rise(0.04, _CLOSED)

    def _choose_grasp(self, name: str) -> Grasp:
        return grasps.best_grasp(self.world, name, self._rng, 0.01 * self._attempt)

    def _above_container(self, name: str, container: str) -> Vector3:
        """Return where the item's bottom should be at release: low, but with the gripper above the rim."""
        outer = self.world.scene.find(container)
        kind, base = kind_of(outer), self.world.object_pose(container)[0]
        point = grasps.release_point(self.world, name, outer, self._places)
        if kind.preposition == "in":
            below = self.world.gripper_pose()[0][2] - grasps.item_height(self.world, name)[0]
            rim = base[2] + kind.height * outer.scale
            point[2] = max(point[2], rim - 0.012 + FINGERTIP_OFFSET_M - below)
        return point

    def _above_item(self, name: str) -> Vector3:
        """Return where an item's bottom should be at release on another one."""
        center = self.world.object_pose(name)[0]
        return np.array([*center[:2], grasps.item_height(self.world, name)[1] + 0.004])

    def _above_table(self, name: str, side: str | None) -> Vector3:
        return np.array([*grasps.free_point(self.world, name, self._places, side), 0.004])

    # Drawer -----------------------------------------------------------------------------------------

    def _slide(self, drawer: str, opening: float) -> Script:
        """Grasp the knob unless it is held, and move it until the drawer has an opening [m]."""
        data = self.world.data
        outward = data.joint(slide_joint(drawer)).xaxis.copy()
        yaw = float(np.arctan2(np.tan(np.arctan2(outward[1], outward[0])), 1.0))
        knob = data.site(knob_site(drawer))
        if not self._holds(drawer, knob.xpos):
            yield from self._release()
            yield from self._reach_and_close(lambda: Grasp(self._inside_box(knob.xpos), yaw))
        for _ in range(25):
            missing = opening - float(data.joint(slide_joint(drawer)).qpos[0])
            if abs(missing) < 0.004 or not self._near(knob.xpos, 0.03):
                break
            position = self.world.gripper_pose()[0]
            beyond = missing + 0.006 * np.sign(missing)
            yield self._gripper.move(self._inside_box(position + outward * beyond), yaw, _CLOSED)
        yield from self._hold(_OPEN, 2)

    # Door -------------------------------------------------------------------------------------------

    def _swing(self, cabinet: str, angle: float) -> Script:
        """Grasp the door's bar unless it is held, and lead it around the hinge to an angle [rad]."""
        data = self.world.data
        handle, joint = data.site(handle_site(cabinet)), data.joint(hinge_joint(cabinet))
        yaw = self.world.target.rpy[2]
        if not self._holds(cabinet, handle.xpos):
            yield from self._release()
            yaw = self._door_yaw(cabinet)
            yield from self._reach_and_close(lambda: Grasp(self._inside_box(handle.xpos), yaw))
        for _ in range(30):
            missing = angle - float(joint.qpos[0])
            if abs(missing) < 0.04 or not self._near(handle.xpos, 0.03):
                break
            turn = float(np.clip(missing + 0.05 * np.sign(missing), -0.3, 0.3))
            x, y, _ = handle.xpos - joint.xanchor
            arm = np.array(
                [x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)]
            )
            step = np.array([*(joint.xanchor[:2] + arm - handle.xpos[:2]), 0.0])
            here = self.world.gripper_pose()[0]
            yield self._gripper.move(self._inside_box(here + step), yaw, _CLOSED)
        yield from self._hold(_OPEN, 2)

    def _door_yaw(self, cabinet: str) -> float:
        """Return the heading at which the fingers close along the door."""
        axes = self.world.data.body(f"{cabinet} door").xmat.reshape(3, 3)
        return float(np.arctan2(axes[1, 0], axes[0, 0]))

    # Cloth ------------------------------------------------------------------------------------------

    def _fold(self, cloth: str, folded: bool) -> Script:
        """Pinch the hem unless it is held, carry it to the left edge or back out to the right, and release it."""
        hem = self.world.data.site(hem_site(cloth))
        above = np.array([0, 0, 0.016])
        if not self._holds(cloth, hem.xpos):
            yield from self._release()
            yield from self._reach_and_close(
                lambda: Grasp(self._inside_box(hem.xpos + above), self._cloth_yaw(cloth))
            )
        goal = self._hem_goal(cloth, folded)
        for _ in range(35):
            position, yaw = self.world.gripper_pose()[0], self._cloth_yaw(cloth)
            if not self._near(hem.xpos, 0.05) or self._gripper.is_at(goal, yaw, 0.01):
                break
            yield self._gripper.approach(goal, yaw, _CLOSED, max(0.09, position[2]))
        yield from self._hold(_OPEN, 2)

    def _hem_goal(self, cloth: str, folded: bool) -> Vector3:
        """Return a point just short of the left edge's middle, or just beyond the hem's position when flat."""
        data = self.world.data.body(cloth)
        right = -data.xmat.reshape(3, 3)[:, 1]
        width = WIDTH_M * self.world.scene.find(cloth).scale
        goal = data.xpos + right * width * (0.06 if folded else 1.02)
        return self._inside_box(np.array([*goal[:2], 0.036 if folded else 0.031]))

    def _cloth_yaw(self, cloth: str) -> float:
        axes = self.world.data.body(cloth).xmat.reshape(3, 3)
        return float(np.arctan2(axes[1, 0], axes[0, 0]))

    # Parts of every script --------------------------------------------------------------------------

    def _reach_and_close(self, pose: Callable[[], Grasp]) -> Script:
        """Descend with open fingers to a pose that may change on the way, until there or stuck, and close them."""
        clear = self._clear_height()
        for _ in range(_MAX_REACH_STEPS):
            grasp = pose()
            if self._gripper.is_at(*grasp) or self._gripper.is_stuck():
                break
            yield self._gripper.approach(grasp.position, grasp.yaw, _OPEN, clear)
        yield from self._hold(_CLOSED, 2)

    def _release(self) -> Script:
        """Open the fingers and rise a little, unless they are open."""
        if self.world.gripper_opening() < 0.8:
            yield from self._hold(_OPEN, 2)
            yield from self._rise(0.04, _OPEN)

    def _retreat(self) -> Script:
        """Rise straight up with open fingers."""
        here = self.world.target.position
        yield from self._rise(max(0.0, 0.13 - here[2]), _OPEN)

    def _rise(self, by: float, gripper: float) -> Script:
        goal = self._inside_box(self.world.target.position + np.array([0, 0, by]))
        yaw = self.world.target.rpy[2]
        for _ in range(8):
            if self.world.target.position[2] > goal[2] - 0.004:
                return
            yield self._gripper.move(goal, yaw, gripper)

    def _hold(self, gripper: float, steps: int) -> Script:
        for _ in range(steps):
            yield self._gripper.hold(gripper)

    def _holds(self, name: str, handle: Vector3) -> bool:
        """Return whether the fingers are closed on an object at its handle."""
        return self.world.held(name) and self._near(handle, 0.04)

    def _near(self, point: Vector3, within_m: float) -> bool:
        return bool(np.linalg.norm(self.world.gripper_pose()[0] - point) < within_m)

    def _clear_height(self) -> float:
        """Return a height of the empty gripper above all objects [m]."""
        return self._height_over("", FINGERTIP_OFFSET_M)

    def _carry_height(self, name: str) -> float:
        """Return a height of the gripper at which the item that it holds passes above all other objects [m]."""
        bottom = grasps.item_height(self.world, name)[0]
        return self._height_over(name, self.world.gripper_pose()[0][2] - bottom)

    def _height_over(self, held: str, below: float) -> float:
        """Return the height of the tallest object except `held`, plus `below` [m] and a margin, within the box."""
        others = [obj for obj in self.world.scene.objects if obj.name != held]
        tallest = max((kind_of(obj).height * obj.scale for obj in others), default=0.0)
        if isinstance(self.goal, Stacked):
            items = [obj.name for obj in others if kind_of(obj).role == "item"]
            tallest = max(tallest, *(grasps.item_height(self.world, name)[1] for name in items))
        return float(min(tallest + below + 0.02, self.world.controller.config.high[2]))

    def _inside_box(self, position: Vector3) -> Vector3:
        c = self.world.controller.config
        return np.asarray(np.clip(position, c.low, c.high))
