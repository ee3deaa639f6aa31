"""A scripted expert for every kind of goal. Privileged: it reads poses, no component of the loop may use it.

Each script is a generator of actions that looks at the world before every one of them, so a grasp that
slipped is tried again. It starts from any state of the arm, and ends released and out of the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from soar.sim.arm import FINGERTIP_OFFSET_M
from soar.sim.expert import grasps
from soar.sim.expert.grasps import Grasp, Point
from soar.sim.expert.motion import Hand
from soar.sim.objects.cloth import WIDTH_M, hem_site
from soar.sim.objects.drawer import TRAVEL_M, knob_site, slide_joint
from soar.sim.objects.kinds import kind_of
from soar.sim.scenes.spec import ClothFolded, DrawerOpen, Goal, Inside, OnSide
from soar.sim.world import World
from soar.types import Action, Image
from soar.utils.trajectories import MotionConfig, Vector3

Script = Iterator[Action]
_OPEN, _CLOSED = 1.0, 0.0
_ATTEMPTS = 8
_LONGEST_REACH = 45
"""Control steps after which a motion counts as failed."""


def frame_ahead(world: World, goal: Goal, steps: int, seed: int) -> Image:
    """What the camera will see in so many control steps if an expert acts. The world is left as it was."""
    now = world.snapshot()
    expert = Expert(world, goal, np.random.default_rng(seed), noise=0.0)
    for _ in range(steps):
        if expert.done:
            break
        world.step(expert.act())
    frame = world.render()
    world.restore(now)
    return frame


class Expert:
    """Acts until a goal holds: `while not expert.done: world.step(expert.act())`."""

    def __init__(
        self,
        world: World,
        goal: Goal,
        rng: np.random.Generator,
        noise: float = 1.0,
        speed: float = 1.0,
        motion: MotionConfig | None = None,
    ) -> None:
        """`noise` and `speed` scale the waver and the pace of `motion`; noise 0 moves straight."""
        plain = motion or MotionConfig()
        self.world, self.goal, self._rng = world, goal, rng
        self.done = False
        self._attempt = 0
        self._hand = Hand(
            world,
            replace(
                plain,
                step_m=plain.step_m * speed,
                turn_rad=plain.turn_rad * speed,
                noise_m=plain.noise_m * noise,
                noise_rad=plain.noise_rad * noise,
            ),
            rng,
        )
        self._script = self._until_fulfilled()

    @property
    def commanded(self) -> Action:
        """The last action without its waver: the better label for it."""
        return self._hand.commanded

    def act(self) -> Action:
        """The next action; once done, to stay with the gripper open."""
        action = next(self._script, None)
        if action is None:
            self.done = True
            return self._hand.hold(_OPEN)
        return action

    def _until_fulfilled(self) -> Script:
        """Attempts, each followed by a look that must find the goal fulfilled twice in a row."""
        attempt, done = self._attempt_for(self.goal), False
        for self._attempt in range(_ATTEMPTS):
            if not self.world.fulfilled(self.goal):
                yield from attempt()
            yield from self._retreat()
            for _ in range(3):
                done_before, done = done, self.world.fulfilled(self.goal)
                if done_before and done:
                    return
                yield self._hand.hold(_OPEN)

    def _attempt_for(self, goal: Goal) -> Callable[[], Script]:
        match goal:
            case Inside(thing, container, value):
                if value:
                    return lambda: self._put(thing, lambda: self._above_container(thing, container))
                return lambda: self._put(thing, lambda: self._above_table(thing, None))
            case OnSide(thing, side):
                return lambda: self._put(thing, lambda: self._above_table(thing, side))
            case DrawerOpen(drawer, value):
                return lambda: self._slide(drawer, TRAVEL_M if value else 0.0)
            case ClothFolded(cloth, value):
                return lambda: self._fold(cloth, value)

    # Pick and place ---------------------------------------------------------------------------------

    def _put(self, thing: str, destination: Callable[[], Vector3]) -> Script:
        """Grasp a thing unless it is held, carry it over, let go. Ends early when it slips."""
        if not self.world.held(thing):
            yield from self._pick(thing)
        if not self.world.held(thing):
            return
        place = destination()
        clear = self._carry_height(thing)
        for _ in range(_LONGEST_REACH):
            if not self.world.held(thing):
                return
            hand, yaw = self.world.gripper_pose()[0], self.world.target.rpy[2]
            offset = hand - self.world.object_pose(thing)[0]
            offset[2] = hand[2] - grasps.item_height(self.world, thing)[0]
            goal = self._inside_box(place + offset)
            if self._hand.at(goal, yaw, 0.012) or self._hand.is_stuck():
                break
            yield self._hand.approach(goal, yaw, _CLOSED, clear)
        yield from self._hold(_OPEN, 2)

    def _pick(self, thing: str) -> Script:
        """Reach for a thing with open fingers, close, and lift it a little."""
        yield from self._empty_hand()
        grasp, seen = self._choose_grasp(thing), self.world.object_pose(thing)[0]

        def pose() -> Grasp:
            nonlocal grasp, seen
            moved = self.world.object_pose(thing)[0] - seen
            if np.linalg.norm(moved) > 0.01:
                grasp, seen = self._choose_grasp(thing), seen + moved
            return grasp

        yield from self._reach_and_close(pose)
        yield from self._rise(0.04, _CLOSED)

    def _choose_grasp(self, thing: str) -> Grasp:
        return grasps.best_grasp(self.world, thing, self._rng, 0.01 * self._attempt)

    def _above_container(self, thing: str, container: str) -> Vector3:
        """Where the item's bottom should be when the fingers open: low, but with the hand above the rim."""
        box = grasps.find(self.world, container)
        kind, base = kind_of(box), self.world.object_pose(container)[0]
        place = grasps.drop_point(self.world, thing, box, self._rng)
        if kind.preposition == "in":
            below_hand = self.world.gripper_pose()[0][2] - grasps.item_height(self.world, thing)[0]
            rim = base[2] + kind.height * box.scale
            place[2] = max(place[2], rim - 0.012 + FINGERTIP_OFFSET_M - below_hand)
        return place

    def _above_table(self, thing: str, side: str | None) -> Vector3:
        return np.array([*grasps.free_place(self.world, thing, self._rng, side), 0.004])

    # Drawer -----------------------------------------------------------------------------------------

    def _slide(self, drawer: str, opening: float) -> Script:
        """Grasp the knob unless it is held, move it along the slide until the drawer is open so far [m]."""
        data = self.world.data
        outward = data.joint(slide_joint(drawer)).xaxis.copy()
        yaw = float(np.arctan2(np.tan(np.arctan2(outward[1], outward[0])), 1.0))
        knob = data.site(knob_site(drawer))
        if not self._holds(drawer, knob.xpos):
            yield from self._empty_hand()
            yield from self._reach_and_close(lambda: Grasp(self._inside_box(knob.xpos), yaw))
        for _ in range(25):
            missing = opening - float(data.joint(slide_joint(drawer)).qpos[0])
            if abs(missing) < 0.004 or not self._near(knob.xpos, 0.03):
                break
            hand = self.world.gripper_pose()[0]
            beyond = missing + 0.006 * np.sign(missing)
            yield self._hand.towards(self._inside_box(hand + outward * beyond), yaw, _CLOSED)
        yield from self._hold(_OPEN, 2)

    # Cloth ------------------------------------------------------------------------------------------

    def _fold(self, cloth: str, folded: bool) -> Script:
        """Pinch the hem unless it is held, carry it to the left edge, or back out to the right, let go."""
        hem = self.world.data.site(hem_site(cloth))
        above = np.array([0, 0, 0.016])
        if not self._holds(cloth, hem.xpos):
            yield from self._empty_hand()
            yield from self._reach_and_close(
                lambda: Grasp(self._inside_box(hem.xpos + above), self._cloth_yaw(cloth))
            )
        goal = self._hem_goal(cloth, folded)
        for _ in range(35):
            hand = self.world.gripper_pose()[0]
            if not self._near(hem.xpos, 0.05) or self._hand.at(goal, self._cloth_yaw(cloth), 0.01):
                break
            yield self._hand.approach(goal, self._cloth_yaw(cloth), _CLOSED, max(0.09, hand[2]))
        yield from self._hold(_OPEN, 2)

    def _hem_goal(self, cloth: str, folded: bool) -> Vector3:
        """The left edge's middle, a little short of it; or where the hem lies when flat, a little beyond."""
        data = self.world.data.body(cloth)
        right = -data.xmat.reshape(3, 3)[:, 1]
        width = WIDTH_M * grasps.find(self.world, cloth).scale
        goal = data.xpos + right * width * (0.06 if folded else 1.02)
        return self._inside_box(np.array([*goal[:2], 0.036 if folded else 0.031]))

    def _cloth_yaw(self, cloth: str) -> float:
        axes = self.world.data.body(cloth).xmat.reshape(3, 3)
        return float(np.arctan2(axes[1, 0], axes[0, 0]))

    # Parts of every script --------------------------------------------------------------------------

    def _reach_and_close(self, pose: Callable[[], Grasp]) -> Script:
        """Come down with open fingers on a pose that may change on the way, or until stuck; close."""
        clear = self._clear_height()
        for _ in range(_LONGEST_REACH):
            grasp = pose()
            if self._hand.at(*grasp) or self._hand.is_stuck():
                break
            yield self._hand.approach(grasp.position, grasp.yaw, _OPEN, clear)
        yield from self._hold(_CLOSED, 2)

    def _empty_hand(self) -> Script:
        """Let go of whatever is held, and rise if the hand is low."""
        if self.world.gripper_opening() < 0.8:
            yield from self._hold(_OPEN, 2)
            yield from self._rise(0.04, _OPEN)

    def _retreat(self) -> Script:
        """Straight up with open fingers."""
        here = self.world.target.position
        yield from self._rise(max(0.0, 0.13 - here[2]), _OPEN)

    def _rise(self, by: float, gripper: float) -> Script:
        goal = self._inside_box(self.world.target.position + np.array([0, 0, by]))
        yaw = self.world.target.rpy[2]
        for _ in range(8):
            if self.world.target.position[2] > goal[2] - 0.004:
                return
            yield self._hand.towards(goal, yaw, gripper)

    def _hold(self, gripper: float, steps: int) -> Script:
        for _ in range(steps):
            yield self._hand.hold(gripper)

    def _holds(self, name: str, handle: Float64[np.ndarray, "3"]) -> bool:
        """Whether the fingers are closed on a thing by its handle."""
        return self.world.held(name) and self._near(handle, 0.04)

    def _near(self, point: Float64[np.ndarray, "3"], within_m: float) -> bool:
        return bool(np.linalg.norm(self.world.gripper_pose()[0] - point) < within_m)

    def _clear_height(self) -> float:
        """Of the hand, empty, above everything that stands on the table."""
        things = self.world.scene.objects
        tallest = max((kind_of(t).height * t.scale for t in things), default=0.0)
        return float(min(tallest + FINGERTIP_OFFSET_M + 0.02, self.world.controller.config.high[2]))

    def _carry_height(self, thing: str) -> float:
        """Of the hand, so that what it holds passes above everything else."""
        others = [t for t in self.world.scene.objects if t.name != thing]
        tallest = max((kind_of(t).height * t.scale for t in others), default=0.0)
        below = self.world.gripper_pose()[0][2] - grasps.item_height(self.world, thing)[0]
        return float(min(tallest + below + 0.02, self.world.controller.config.high[2]))

    def _inside_box(self, position: Vector3 | Point) -> Vector3:
        c = self.world.controller.config
        return np.asarray(np.clip(position, c.low, c.high))
