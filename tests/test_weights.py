"""The packaged weights: cards match their weights, and a sample of the measurements holds."""

from __future__ import annotations

import numpy as np
import pytest

from soar import checkpoint as checkpoints
from soar.evaluation.vlm import judge_scenes
from soar.pretraining.demonstrations import demonstrate
from soar.registry import (
    COMPACT_STEPS_AHEAD,
    Packaged,
    load_policy,
    load_subgoals,
    load_vlm,
    packaged,
)
from soar.sim.projection import project_point
from soar.sim.scenes.catalog import load_scene
from soar.sim.scenes.regimes import sample_scene
from soar.sim.scenes.spec import Inside, OnSide
from soar.sim.world import World
from soar.tasks.grammar import parse_instruction
from soar.types import Episode, Observation, Task
from soar.utils.media import resize
from soar.vlm.compact.model import CompactVLM

ROLES: dict[Packaged, float] = {"vlm": 25, "subgoals": 25, "gcbc": 15, "lcbc": 15}
"""Packaged roles and their maximum size [MB]."""
FIRST_SEED = 900_000
"""First seed of scenes that weren't used in training."""


@pytest.mark.parametrize("role", ROLES)
def test_card_and_weights_match(role: Packaged):
    folder = packaged(role)
    card, id = (folder / "README.md").read_text(), checkpoints.load(folder).id
    assert card.startswith(f"# {role} `{id}`")
    assert f"soar pretrain {role}" in card
    assert "## Measured" in card
    assert sum(f.stat().st_size for f in folder.iterdir()) < ROLES[role] * 1e6


def test_the_vlm_judges_an_unseen_scene():
    judged, errors = judge_scenes(load_vlm(), [load_scene("dev1")], images=24, seed=5)
    assert np.median(errors) < 0.1
    tasks = [j for j in judged if j.group == "task"]
    assert np.mean([(j.p > 0.5) == j.truth for j in tasks]) > 0.75


def test_the_vlm_locates_the_object_of_an_instruction():
    vlm, scene = CompactVLM.load(packaged("vlm")), load_scene("dev2")
    world, errors = World(scene), []
    try:
        for seed in range(6):
            world.reset(seed)
            image = world.render()
            for task in scene.tasks:
                assert isinstance(task.goal, Inside | OnSide)
                found = vlm.point(image[None], [parse_instruction(task.instruction)])[0, 0]
                expected = project_point(world, world.object_pose(task.goal.object)[0])
                errors.append(np.linalg.norm(found - expected))
    finally:
        world.close()
    assert np.median(errors) < 0.12
    assert np.isnan(vlm.point(image[None], [Task("tidy up")])).all()


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    made = []
    for seed in range(FIRST_SEED, FIRST_SEED + 6):
        scene = sample_scene("bridge", seed)
        world = World(scene)
        try:
            world.reset(seed, scene.tasks[0].goal)
            made.append(demonstrate(world, scene.tasks[0], np.random.default_rng(seed), 80))
        finally:
            world.close()
    return made


def observation(episode: Episode, t: int) -> Observation:
    return Observation(episode.images[t], episode.states[t], float(episode.times_s[t]))


@pytest.mark.parametrize("kind", ["gcbc", "lcbc"])
def test_the_policies_move_towards_their_goals(kind: str, episodes: list[Episode]):
    policy, rng = load_policy(kind), np.random.default_rng(0)
    predicted, commanded = [], []
    for episode in episodes:
        for t in range(0, len(episode), 5):
            image = episode.images[min(t + 12, len(episode))][None]
            goals = image if kind == "gcbc" else [episode.instruction]
            predicted.append(policy.act([observation(episode, t)], goals, rng)[0])
            commanded.append(episode.commanded[t])
            policy.reset()
    error = np.square(np.array(predicted)[:, :3] - np.array(commanded)[:, :3]).mean()
    assert error < 0.8 * np.square(np.array(commanded)[:, :3]).mean()


def test_generated_subgoals_change_the_image_as_the_future_does(episodes: list[Episode]):
    generator = load_subgoals()
    present = [observation(e, 0) for e in episodes]
    tasks = [parse_instruction(e.instruction) for e in episodes]
    samples = [generator.generate(present, tasks, np.random.default_rng(seed)) for seed in range(3)]
    generated, side = np.mean(samples, 0), samples[0].shape[1]
    future = np.stack(
        [resize(e.images[min(COMPACT_STEPS_AHEAD, len(e))], side) for e in episodes]
    ).astype(float)
    start = resize(np.stack([o.image for o in present]), side).astype(float)
    cosine = ((generated - start) * (future - start)).sum()
    cosine /= np.linalg.norm(generated - start) * np.linalg.norm(future - start)
    assert cosine > 0.2
