"""The packaged weights: each card belongs to its weights, and a small part of what was measured is true."""

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
"""What is packaged, and how many megabytes it may weigh."""
FIRST_SEED = 900_000
"""Of scenes that no training has seen."""


@pytest.mark.parametrize("role", ROLES)
def test_card_and_weights_belong_together(role: Packaged):
    folder = packaged(role)
    card, id = (folder / "README.md").read_text(), checkpoints.load(folder).id
    assert card.startswith(f"# {role} `{id}`")
    assert f"soar pretrain {role}" in card
    assert "## Measured" in card
    assert sum(f.stat().st_size for f in folder.iterdir()) < ROLES[role] * 1e6


def test_the_eyes_judge_an_unseen_scene():
    judged = judge_scenes(load_vlm(), [load_scene("dev1")], images=24, seed=5)
    tasks = [j for j in judged if j.group == "task"]
    assert np.mean([(j.p > 0.5) == j.truth for j in tasks]) > 0.75


def test_the_eyes_point_at_what_an_instruction_names():
    eyes, scene = CompactVLM.load(packaged("vlm")), load_scene("dev2")
    world, missed = World(scene), []
    try:
        for seed in range(6):
            world.reset(seed)
            image = world.render()
            for task in scene.tasks:
                assert isinstance(task.goal, Inside | OnSide)
                said = eyes.point(image[None], [parse_instruction(task.instruction)])[0, 0]
                there = project_point(world, world.object_pose(task.goal.object)[0])
                missed.append(np.linalg.norm(said - there))
    finally:
        world.close()
    assert np.median(missed) < 0.12
    assert np.isnan(eyes.point(image[None], [Task("tidy up")])).all()


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
    told, did = [], []
    for episode in episodes:
        for t in range(0, len(episode), 5):
            image = episode.images[min(t + 12, len(episode))][None]
            goals = image if kind == "gcbc" else [episode.instruction]
            told.append(policy.act([observation(episode, t)], goals, rng)[0])
            did.append(episode.commanded[t])
            policy.reset()
    error = np.square(np.array(told)[:, :3] - np.array(did)[:, :3]).mean()
    assert error < 0.8 * np.square(np.array(did)[:, :3]).mean()


def test_what_is_imagined_changes_the_picture_as_the_future_does(episodes: list[Episode]):
    generator = load_subgoals()
    present = [observation(e, 0) for e in episodes]
    words = [e.instruction for e in episodes]
    drawn = [generator.generate(present, words, np.random.default_rng(seed)) for seed in range(3)]
    imagined, side = np.mean(drawn, 0), drawn[0].shape[1]
    future = np.stack(
        [resize(e.images[min(COMPACT_STEPS_AHEAD, len(e))], side) for e in episodes]
    ).astype(float)
    start = resize(np.stack([o.image for o in present]), side).astype(float)
    alike = ((imagined - start) * (future - start)).sum()
    alike /= np.linalg.norm(imagined - start) * np.linalg.norm(future - start)
    assert alike > 0.2
