"""An arm of six joints at 15 Hz, without a gripper and with two cameras, collects, trains and is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soar import checkpoint as checkpoints
from soar.collection.collector import collect
from soar.collection.config import CollectionConfig
from soar.collection.status import StatusFolder
from soar.contract.contract import WIDOWX, ActionNumbers, Camera, Contract, Numbers
from soar.critics.actor_policy import load_actor
from soar.critics.diagnostics import episode_values
from soar.critics.steering import load_steered
from soar.data.frame_cache import build_frames
from soar.data.idle_frames import drop_idle_frames
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.data.store.verify import verify
from soar.errors import ConfigError, RobotFault
from soar.evaluation.envs import TrialOutcome
from soar.evaluation.results import EvalSetting
from soar.evaluation.runner import EvalSpec, evaluate
from soar.policies.loading import load_policy
from soar.robots.limits import Limits
from soar.robots.safety import SafeRobot
from soar.robots.toy import HOME, ToyRobot
from soar.robots.toy_models import INSTRUCTIONS, ToyPolicy, ToySubgoals, ToyVLM
from soar.rollout.models import Models
from soar.rollout.station import EpisodeConfig, Station
from soar.tasks.grammar import task_from_instruction
from soar.tasks.proposer import UncertaintyProposer
from soar.tasks.success_detector import VLMSuccessDetector
from soar.training.critic import critic_source, train_critic
from soar.training.critic import debug as debug_critic
from soar.training.policy import debug, train_policy, with_fit
from soar.types import Action, Actions, Images, Noise, Observation, Query

JOINTS = tuple(f"joint{i}" for i in range(1, 7))
PERIOD_S = 1 / 15
ARM = Contract(
    ActionNumbers(space="joints", joints=JOINTS, gripper=None),
    Numbers(space="joints", joints=JOINTS, gripper=None),
    (Camera("front"), Camera("wrist")),
    PERIOD_S,
)
TASKS = tuple(task_from_instruction(i) for i in INSTRUCTIONS)
LIMITS = Limits(joints_low=(-1.5,) * 6, joints_high=(1.5,) * 6, max_turn_rad=0.1)


class JointArm(ToyRobot):
    """An arm that holds the toy's block; its first two joints move it over the table."""

    contract = ARM
    period_s = PERIOD_S

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self.joints = np.zeros(6)
        self.joints[0] = np.random.default_rng(seed).uniform(-1, 1)
        self._move()

    def observe(self) -> Observation:
        seen = super().observe()
        state = self.joints.astype(np.float32)
        seen.image[0, 1] = round(100 * seen.time_s) % 256  # noise, as every real camera has it
        wrist = seen.image[::2, ::2].copy()
        wrist[0, 0] = seen.image[0, 1]
        return Observation(seen.image, state, seen.time_s, {"wrist": wrist})

    def execute(self, action: Action) -> Action:
        self._time_s += self.period_s
        self.joints = self.joints + action
        self._move()
        return action.copy()

    def home(self) -> None:
        self.joints[1:] = 0
        self._move()
        self.homed += 1

    def _move(self) -> None:
        y, x = 0.15 * np.sin(self.joints[0]), HOME[0] + 0.1 * np.sin(self.joints[1])
        self._position = np.array([x, y, HOME[2]])
        self.block = self._position[:2].copy()


class JointPolicy:
    """Turns the first joint toward the goal, and the others at random."""

    name = "joints"
    contract = ARM

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        actions = rng.normal(0, 0.02, (len(observations), 6)).astype(np.float32)
        for action, observation, goal in zip(actions, observations, goals, strict=True):
            column = np.nonzero(goal[..., 1] > goal[..., 0].astype(int) + 60)[1].mean()
            wanted = np.arcsin(np.clip((15.5 - column) / 15.5 * 0.24 / 0.15, -1, 1))
            action[0] = np.clip(wanted - observation.state[0], -0.05, 0.05)
        return actions

    def reset(self) -> None:
        pass


class JointEnv:
    """An environment of the arm, judged by its own truth."""

    metronome = None
    needs_all_frames = False

    def __init__(self, scene: str) -> None:
        self.arm = JointArm()
        self.robot = SafeRobot(self.arm, LIMITS)
        self.instruction = ""

    def reset(self, instruction: str, seed: int) -> None:
        self.instruction = instruction
        self.arm.reset(seed)
        self.robot = SafeRobot(self.arm, LIMITS)

    def fulfilled(self) -> bool:
        return self.arm.truth(self.instruction)

    def judge(self, images: Images, done: bool | None, fault: str) -> TrialOutcome:
        assert not fault
        return TrialOutcome("success" if done else "failure")

    def close(self) -> None:
        self.arm.close()


def station() -> Station:
    arm = JointArm(1)
    robot = SafeRobot(arm, LIMITS)
    return Station("six", robot, TASKS, UncertaintyProposer(TASKS), "toy", "dev", 1, arm)


def collected(folder: Path, policy: object, episodes: int = 3) -> None:
    models = Models(ToyVLM(), policy, ToySubgoals(), VLMSuccessDetector(ToyVLM()))  # type: ignore[arg-type]
    config = CollectionConfig(episode=EpisodeConfig(2, 5, duration_s=2.0), overlap=False)
    status = [StatusFolder(folder, "six")]
    store = open_store(folder, create=True)
    collect([station()], models, store, status, config, episodes=episodes)


def test_the_arm_collects_trains_and_is_evaluated(tmp_path: Path) -> None:
    collected(tmp_path / "store", JointPolicy())
    store = open_store(tmp_path / "store")
    first = store.load(next(store.query()).id)
    assert first.contract == ARM
    assert (len(first), first.actions.shape[1], first.states.shape[1]) == (30, 6, 6)
    assert first.other_images["wrist"].shape == (31, 16, 16, 3)
    assert not [f for f in verify(store) if f.problem]
    assert any(s.verdict.outcome == "success" for s in store.query())

    recipe = with_fit(debug(), device="cpu", precision="fp32")
    recipe = replace(recipe, policy=replace(recipe.policy, cameras=("wrist",)))
    frames = build_frames(store, Query(), 32, tmp_path / "frames", cameras=("wrist",))
    source = Source("own", frames, 1.0, recipe.goals)
    sources = [source, replace(drop_idle_frames(source, 0.01), name="busy")]
    policy, result = train_policy(recipe, sources, tmp_path / "policy")
    assert np.isfinite(result.loss)
    assert policy.takes_state
    assert checkpoints.load(tmp_path / "policy").contract == ARM

    spec = EvalSpec(lambda: load_policy(tmp_path / "policy", "cpu"), ToySubgoals, JointEnv)  # type: ignore[arg-type]
    setting = EvalSetting(
        "c", "gcbc", "toy", (("toy", INSTRUCTIONS[0]),), 2, 5, 2, 5, duration_s=1.0
    )
    done = evaluate(spec, setting, tmp_path / "evaluation", video_size=0)
    assert done.finished
    assert len(done.trials) == 2


def test_a_critic_learns_from_the_arm_and_steers_its_policy(tmp_path: Path) -> None:
    collected(tmp_path / "store", JointPolicy())
    store = open_store(tmp_path / "store")
    recipe = debug_critic("calql")
    recipe = replace(recipe, fit=replace(recipe.fit, device="cpu", precision="fp32"))
    source = critic_source(store, "own", Query(), recipe.critic, tmp_path / "frames")
    critic, result = train_critic(recipe, [source], tmp_path / "critic")
    assert np.isfinite(result.loss)
    values = episode_values(critic, source, 0, 4, np.random.default_rng(0))
    assert np.isfinite(values.spread).all()
    assert critic.contract == replace(ARM, cameras=(Camera("front"),))
    actions = np.concatenate([store.load(e.id).actions for e in store.query()])
    assert critic.config.bounds.low == pytest.approx(actions.min(0))
    again, _ = train_critic(recipe, [source], None, start=checkpoints.load(tmp_path / "critic"))
    assert again.config == critic.config
    assert again.transforms == critic.transforms

    observations = [JointArm(seed).observe() for seed in (1, 2)]
    goals = np.stack([o.image for o in observations])
    steered = load_steered(JointPolicy(), str(tmp_path / "critic"), {"count": 3, "guard": 0.0})
    rng = np.random.default_rng(0)
    assert steered.act(observations, goals, rng).shape == (2, 6)
    assert steered.contract == ARM  # type: ignore[attr-defined]
    assert load_actor(tmp_path / "critic", "cpu").act(observations, goals, rng).shape == (2, 6)
    with pytest.raises(ConfigError, match=r"action.space is end_effector for policy 'toy'"):
        load_steered(Widow(), str(tmp_path / "critic"), {})


class Widow(ToyPolicy):
    name = "toy"
    contract = WIDOWX


def test_a_policy_of_another_arm_is_refused_before_anything_moves(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"action.space is joints for six and end_effector"):
        collected(tmp_path / "store", ToyPolicy())


def test_data_of_another_arm_is_refused_before_training(tmp_path: Path) -> None:
    collected(tmp_path / "store", JointPolicy(), episodes=1)
    frames = build_frames(open_store(tmp_path / "store"), Query(), 32, tmp_path / "frames")
    recipe = with_fit(debug(), device="cpu", precision="fp32")
    config = replace(recipe, policy=replace(recipe.policy, cameras=("wrist",)))
    with pytest.raises(ConfigError, match="takes camera 'wrist', which the training data"):
        train_policy(config, [Source("own", frames, 1.0)], None)
    start = checkpoints.Checkpoint("gcbc", {}, {})
    with pytest.raises(ConfigError, match=r"action.space is joints for the training data"):
        train_policy(recipe, [Source("own", frames, 1.0)], None, start=start)


def test_joints_stay_within_their_limits_and_steps() -> None:
    arm = JointArm()
    robot = SafeRobot(arm, LIMITS)
    robot.observe()
    sent = robot.execute(np.full(6, 5.0, np.float32))
    assert sent == pytest.approx(np.full(6, 0.1))
    for _ in range(30):
        robot.observe()
        robot.execute(np.array([0.1] * 6, np.float32))
    assert np.abs(arm.joints).max() <= 1.5
    assert arm.joints[1:] == pytest.approx(np.full(5, 1.5), abs=1e-5)


def test_a_wrist_camera_that_is_frozen_or_missing_is_a_fault() -> None:
    class Frozen(JointArm):
        wrist = np.zeros((4, 4, 3), np.uint8)

        def observe(self) -> Observation:
            return replace(super().observe(), other_images={"wrist": self.wrist})

    robot = SafeRobot(Frozen(), LIMITS)
    robot.observe()
    robot.execute(np.full(6, 0.06, np.float32))
    robot.observe()
    robot.execute(np.full(6, 0.06, np.float32))
    with pytest.raises(RobotFault, match="camera wrist's image stays the same"):
        robot.observe()

    class Missing(JointArm):
        def observe(self) -> Observation:
            return replace(super().observe(), other_images={})

    with pytest.raises(RobotFault, match="no other_images of the cameras: wrist"):
        SafeRobot(Missing(), LIMITS).observe()


def test_limits_that_do_not_fit_the_contract_are_refused() -> None:
    with pytest.raises(ConfigError, match="joints_low needs a number for each of 6 joints"):
        SafeRobot(JointArm(), Limits(joints_low=(0.0,)))
    absolute = replace(WIDOWX, action=replace(WIDOWX.action, reference="absolute"))
    with pytest.raises(ConfigError, match="`convert: true`"):
        SafeRobot(ToyRobot(), contract=absolute)


def test_an_episode_is_as_long_as_it_is_asked_to_be_at_every_period() -> None:
    config = EpisodeConfig(10, 10, 2, duration_s=20.0)
    assert config.at(0.2) == EpisodeConfig(10, 10, 2)
    fast = config.at(1 / 15)
    assert (fast.length, fast.steps_per_subgoal, fast.prefetch_steps) == (300, 30, 6)
    assert EpisodeConfig(10, 10).at(1 / 15).length == 100
