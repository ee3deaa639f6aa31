"""The simulated environment, the expert's subgoals, and worker processes."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from jaxtyping import Float32

from soar.errors import CheckpointError, ConfigError, SoarError
from soar.evaluation.envs import RealEvalEnv, SimEvalEnv, TrialOutcome, make_sim_env
from soar.evaluation.expert_subgoals import ExpertFrames, ExpertSubgoals, renderer_of
from soar.evaluation.protocol import subgoal_source
from soar.evaluation.results import EvalSetting
from soar.evaluation.runner import EvalSpec, evaluate
from soar.policies.loading import load_policy
from soar.pretraining.clips import goal_keypoints
from soar.registry import COMPACT_STEPS_AHEAD, ModelSpec, subgoals_spec
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import ToyPolicy
from soar.sim.expert.expert import Expert
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.spec import Goal
from soar.sim.world import World
from soar.types import Actions, Images, Noise, Observation, Task, image_only

pytestmark = pytest.mark.usefixtures("warm_workers")

SCENE = SCENES["1"]
PUT, TAKE = SCENE.tasks[0].instruction, SCENE.tasks[1].instruction


@pytest.fixture(scope="module")
def env() -> Iterator[SimEvalEnv]:
    made = SimEvalEnv(SCENE, image_size=64)
    yield made
    made.close()


@pytest.mark.parametrize("instruction", [PUT, TAKE])
def test_a_seed_determines_a_feasible_start(env: SimEvalEnv, instruction: str) -> None:
    env.reset(instruction, 1)
    first = env.robot.observe()
    assert not env.fulfilled()
    env.reset(instruction, 2)
    assert (env.robot.observe().image != first.image).any()
    env.reset(instruction, 1)
    np.testing.assert_array_equal(env.robot.observe().image, first.image)


def test_the_experts_subgoals_leave_the_world_as_it_was(env: SimEvalEnv) -> None:
    env.reset(PUT, 3)
    before, image = env.world.snapshot().physics, env.world.render()
    goals = ExpertSubgoals([env], 20).generate(
        image_only(image[None]), [Task(PUT)], np.random.default_rng(0)
    )
    assert (goals[0] != image).any()
    np.testing.assert_array_equal(env.world.snapshot().physics, before)
    np.testing.assert_array_equal(env.world.render(), image)


class Renderer:
    """A generator that reads every keypoint at the same place, and notes the keypoints that it renders."""

    def read_keypoints(self, observations: Sequence[Observation], instructions: Sequence[str]):
        assert list(instructions) == [PUT]
        return np.full((1, 6, 2), 0.5, np.float32)

    def render(self, observations, instructions, keypoints, rng) -> Images:
        self.keypoints = keypoints
        return np.zeros((1, 8, 8, 3), np.uint8)


def test_the_experts_keypoints_are_rendered_where_they_will_be(
    env: SimEvalEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.reset(PUT, 3)
    before, renderer = env.world.snapshot().physics, Renderer()

    def keypoints(world: World, goal: Goal) -> Float32[np.ndarray, "7 2"]:
        found = goal_keypoints(world, goal)
        found[6] = np.nan  # out of sight
        return found

    now = goal_keypoints(env.world, env.goal)[[2, 0, 3, 4, 5, 6]]
    monkeypatch.setattr("soar.pretraining.clips.goal_keypoints", keypoints)
    subgoals = ExpertSubgoals([env], 10, cast(Any, renderer))
    goals = subgoals.generate([env.robot.observe()], [Task(PUT)], np.random.default_rng(0))
    assert goals.shape == (1, 8, 8, 3)
    np.testing.assert_array_equal(env.world.snapshot().physics, before)
    moved = np.linalg.norm(renderer.keypoints[0] - now, axis=1)
    assert moved[0] > 0.1  # the hand
    assert moved[1] < 0.01  # the object, not yet
    np.testing.assert_array_equal(renderer.keypoints[0, 5], 0.5)


def test_following_the_expert_ends_in_success(env: SimEvalEnv) -> None:
    env.reset(PUT, 4)
    expert = Expert(env.world, env.goal, np.random.default_rng(0), noise=0.0)
    while not expert.done:
        env.robot.observe()
        env.robot.execute(expert.act())
    judged = env.judge(env.robot.observe().image[None], env.fulfilled(), fault="")
    assert (judged.outcome, judged.lost) == ("success", ())


def test_an_unknown_task_is_refused_with_the_valid_ones(env: SimEvalEnv) -> None:
    with pytest.raises(ConfigError, match="no task 'dance'; there is: 'put the green block"):
        env.reset("dance", 0)


def test_an_unknown_scene_is_refused() -> None:
    with pytest.raises(ConfigError, match="no scene 'x'; there is: 1"):
        make_sim_env((SCENE,), "x")


class Still:
    """A policy that stays where it is."""

    name = "still"

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        return np.tile(np.array([0, 0, 0, 0, 0, 0, 1], np.float32), (len(observations), 1))

    def reset(self) -> None:
        pass


class Copier:
    """A generator that returns its observations."""

    name = "copier"

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        return np.stack([o.image for o in observations])


def test_a_policy_that_stays_still_fails(tmp_path: Path) -> None:
    spec = EvalSpec(Still, Copier, partial(make_sim_env, (SCENE,)))
    setting = EvalSetting("c", "still", "copier", (("1", PUT),), 1, 5, 1, 3)
    found = evaluate(spec, setting, tmp_path)
    assert found.trials[0].outcome == "failure"
    assert found.trials[0].ever is False
    assert (tmp_path / found.trials[0].video).exists()


def test_worker_processes_give_the_results_of_one_process(tmp_path: Path) -> None:
    spec = EvalSpec(ToyPolicy, ExpertFrames(3), partial(make_sim_env, (SCENE,)))
    setting = EvalSetting("c", "toy", "expert", (("1", PUT), ("1", TAKE)), 1, 5, 1, 3)
    one, two = (evaluate(spec, setting, tmp_path / str(n), workers=n, lockstep=1) for n in (1, 2))
    assert sorted(map(str, one.trials)) == sorted(map(str, two.trials))
    for trial in one.trials:
        assert (one.folder / trial.video).read_bytes() == (two.folder / trial.video).read_bytes()


def test_a_worker_that_dies_raises_soar_error(tmp_path: Path) -> None:
    spec = EvalSpec(partial(os._exit, 1), None, partial(make_sim_env, (SCENE,)))
    setting = EvalSetting("c", "toy", "none", (("1", PUT), ("1", TAKE)), 1, 5, 1, 3)
    with pytest.raises(SoarError, match="a worker process died"):
        evaluate(spec, setting, tmp_path, workers=2, lockstep=1)


def test_a_model_that_cannot_be_loaded_in_a_worker_raises_its_own_error(tmp_path: Path) -> None:
    spec = EvalSpec(partial(load_policy, "nowhere"), None, partial(make_sim_env, (SCENE,)))
    setting = EvalSetting("c", "toy", "none", (("1", PUT), ("1", TAKE)), 1, 5, 1, 3)
    with pytest.raises(CheckpointError, match="no checkpoint in nowhere"):
        evaluate(spec, setting, tmp_path, workers=2, lockstep=1)


class Unused:
    """A judge and starts of a real robot that are never used."""

    needs_all_frames = False

    def judge(self, instruction: str, images: Images) -> TrialOutcome:
        raise AssertionError

    def can_start(self, instruction: str, observation: Observation) -> bool:
        raise AssertionError

    def set(self, instruction: str, seed: int, observe: Callable[[], Observation]) -> None:
        raise AssertionError


def test_experts_exist_only_in_simulation() -> None:
    env = RealEvalEnv(ToyRobot(), Unused(), Unused())
    with pytest.raises(ConfigError, match="only in the simulated world"):
        ExpertSubgoals([env], 20)


def test_a_subgoal_source_may_give_the_steps_ahead(tmp_path: Path) -> None:
    assert subgoals_spec("compact") == ModelSpec("packaged", "subgoals", COMPACT_STEPS_AHEAD)
    assert subgoals_spec("runs/a@b/train@12") == ModelSpec("folder", "runs/a@b/train", 12)
    assert subgoals_spec("expert@lab/train") == ModelSpec("folder", "expert@lab/train")
    assert subgoals_spec("/home/me@lab/train").source == "/home/me@lab/train"
    assert subgoal_source("expert@20") == ExpertFrames(20)
    assert subgoal_source("expert:compact@20") == ExpertFrames(20, "compact")
    assert subgoal_source("expert:runs/a") == ExpertFrames(COMPACT_STEPS_AHEAD, "runs/a")
    assert subgoals_spec("expert:hub:lab/weights@main").base == "hub:lab/weights@main"
    with pytest.raises(ConfigError, match="not a compact subgoal generator"):
        renderer_of(subgoal_source("expert:none"))
    assert callable(subgoal_source("susie:lab/weights@main"))
    for wrong in ("compact@far", "compact@0", "compact@", "compact@²"):
        with pytest.raises(ConfigError, match="number of control steps"):
            subgoals_spec(wrong)


@pytest.mark.parametrize(
    ("subgoals", "steps"),
    [("compact", 10), ("expert@10", 10), ("runs/mine", 10), ("susie:folder", 20), (None, 20)],
)
def test_steps_per_subgoal_follow_from_the_steps_ahead(subgoals, steps):
    assert subgoals_spec(subgoals).steps_per_subgoal == steps
