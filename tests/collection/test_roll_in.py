"""Roll-in: the learner begins an episode, the policy goes on, and each step says who acted."""

import threading

import numpy as np
import pytest

from soar.collection.config import CollectionConfig
from soar.collection.fleet import CollectionJob, run_lockstep
from soar.collection.roll_in import RollIn, RollInConfig
from soar.data.store.lance import open_store
from soar.errors import BadOutput, ConfigError
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig, open_station
from soar.rollout.takeover import TakenAction
from soar.types import Observation

TOYS = "python:soar.robots.toy_models:Toy"
MODELS = ModelsConfig(vlm=f"{TOYS}VLM", subgoals=f"{TOYS}Subgoals", policy=f"{TOYS}Policy")
ARM = StationConfig("arm", "toy")
UP = np.array([0, 0, 0.01, 0, 0, 0, 1], np.float32)
SEEN = Observation(np.zeros((8, 8, 3), np.uint8), np.zeros(7, np.float32), 0.0)
STILL = np.zeros(7, np.float32)


class Learner:
    """Goes up, whatever it is told."""

    name = "learner"
    width = 7

    def __init__(self) -> None:
        self.told: list[str] = []
        self.resets = 0

    def act(self, observations, goals, rng, *, noise=0.0):
        self.told += goals
        return np.stack([UP[: self.width]] * len(observations))

    def reset(self) -> None:
        self.resets += 1


def learner() -> Learner:
    """Return it for "python:" names."""
    return Learner()


class Person:
    """Takes the arm at step 2, for one step."""

    def start(self, instruction) -> None:
        pass

    def act(self, index, observation, action):
        return TakenAction(STILL, "person") if index == 2 else None


def actors(taken: RollIn) -> list[str]:
    taken.start("wave")
    chosen = [taken.act(i, SEEN, STILL) for i in range(60)]
    return ["policy" if c is None else c.actor for c in chosen]


def test_each_episode_of_a_collection_begins_with_the_learner_for_a_while(tmp_path):
    config = CollectionConfig(roll_in=RollInConfig(f"python:{__name__}:learner", 40))
    job = CollectionJob(tmp_path, MODELS, config, episodes=4)
    open_store(tmp_path, create=True)
    run_lockstep([ARM], job, threading.Event())
    store, counts = open_store(tmp_path), []
    for summary in store.query():
        episode = store.load(summary.id)
        taken = [a == "learner" for a in episode.actors] or [False] * 100
        counts.append(sum(taken))
        assert taken == [True] * counts[-1] + [False] * (100 - counts[-1])
        assert (episode.commanded[: counts[-1]] == UP).all()
        assert summary.interventions == counts[-1]
    assert len(set(counts)) > 1
    assert max(counts) < 40


def test_the_learner_is_told_the_task_and_begins_each_episode_anew():
    mine = Learner()
    taken = RollIn(mine, 10, np.random.default_rng(0))
    counts = [actors(taken).count("learner") for _ in range(50)]
    assert (min(counts), max(counts)) == (0, 9)
    assert mine.resets == 50
    assert set(mine.told) == {"wave"}


def test_once_a_person_had_the_arm_the_learner_does_not_get_it_back():
    taken = RollIn(Learner(), 60, np.random.default_rng(0), Person())
    assert actors(taken) == ["learner", "learner", "person", *["policy"] * 57]


def test_without_a_learner_nothing_changes():
    person = Person()
    assert RollInConfig().make(open_station(ARM), person) is person


def test_a_learner_that_needs_subgoals_is_refused():
    with pytest.raises(ConfigError, match="policy gcbc reaches images and has no subgoals"):
        RollInConfig("gcbc").make(open_station(ARM), None)


def test_an_action_of_another_width_is_the_learners_mistake():
    mine = Learner()
    mine.width = 6
    with pytest.raises(BadOutput, match="learner gave actions of shape \\(1, 6\\)"):
        actors(RollIn(mine, 60, np.random.default_rng(0)))
