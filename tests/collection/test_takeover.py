"""Takeovers: a person acts in the policy's place, and each step says who acted."""

import threading
import time

import numpy as np
import pytest

from soar.collection.fleet import CollectionJob, run_lockstep
from soar.collection.takeover import KeyboardTakeover, TakeoverKeys
from soar.contract.contract import WIDOWX
from soar.data.store.lance import open_store
from soar.robots.toy import ToyRobot
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig, open_station
from soar.rollout.takeover import TakenAction

TOYS = "python:soar.robots.toy_models:Toy"
MODELS = ModelsConfig(vlm=f"{TOYS}VLM", subgoals=f"{TOYS}Subgoals", policy=f"{TOYS}Policy")
UP = np.array([0, 0, 0.01, 0, 0, 0, 1], np.float32)


class MiddleThird:
    """Takes the arm from step 30 on, for ten steps."""

    started = ""

    def start(self, instruction) -> None:
        self.started = instruction

    def act(self, index, observation, action):
        return TakenAction(UP, "expert") if 30 <= index < 40 else None


def test_each_step_of_a_collection_says_who_acted(tmp_path):
    open_store(tmp_path, create=True)
    taken, station = MiddleThird(), StationConfig("arm", "toy")
    job = CollectionJob(tmp_path, MODELS, episodes=1)
    run_lockstep([station], job, threading.Event(), [], lambda _: taken)
    store = open_store(tmp_path)
    (summary,) = store.query()
    episode = store.load(summary.id)
    assert taken.started == summary.instruction
    assert episode.actors == (*["policy"] * 30, *["expert"] * 10, *["policy"] * 60)
    assert summary.interventions == 10
    assert (episode.commanded[30:40] == UP).all()


def test_a_person_takes_the_arm_by_keys_keeps_the_gripper_and_gives_it_back(monkeypatch):
    robot, taken = ToyRobot(), KeyboardTakeover(WIDOWX)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    robot.execute(np.array([0, 0, 0, 0, 0, 0, 0], np.float32))
    closed = robot.observe()
    taken.press("up")  # before the takeover keys do nothing
    assert taken.act(0, closed, UP) is None
    taken.press("t")
    still = taken.act(1, closed, UP)
    assert still is not None
    assert still.actor == "person"
    assert not still.action.any()  # no motion, and the gripper stays closed
    taken.press("up")
    taken.press("g")
    moving = taken.act(2, closed, UP)
    assert moving is not None
    assert np.allclose(moving.action, [0.008, 0, 0, 0, 0, 0, 1])
    taken.press("t")
    assert taken.act(3, closed, UP) is None
    taken.press("t")
    taken.start("the next task")
    assert taken.act(0, closed, UP) is None  # an episode begins with the policy


def test_keys_before_a_station_is_open_do_nothing():
    keys = TakeoverKeys()
    keys.press("t")
    station = open_station(StationConfig("arm", "toy"))
    assert isinstance(keys.make(station), KeyboardTakeover)


@pytest.mark.parametrize("keys", ["t", "tt"])
def test_keys_reach_the_takeover(keys):
    hub = TakeoverKeys()
    takeover = hub.make(open_station(StationConfig("arm", "toy")))
    assert takeover is not None
    for key in keys:
        hub.press(key)
    acted = takeover.act(0, ToyRobot().observe(), UP)
    assert (acted is not None) == (keys == "t")
