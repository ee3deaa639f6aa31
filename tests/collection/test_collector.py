import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soar.collection.collector import collect
from soar.collection.config import CollectionConfig, CollectionSummary
from soar.collection.judging import judge_unknown
from soar.collection.retry import Backoff
from soar.collection.status import StatusFolder, status_folders
from soar.collection.supervisor import FaultLimits, StationSupervisor
from soar.collection.unstored import keep, restore, spare_folder
from soar.data.store.lance import LanceStore, open_store
from soar.errors import ConfigError, ContentError, ModelUnavailable, StoreError
from soar.robots.faulty import FaultRates, FaultyRobot
from soar.robots.operation.guard import MotionGuard, release_motion
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS, ToyPolicy, ToySubgoals, ToyVLM
from soar.rollout.callbacks import Callback
from soar.rollout.models import Models
from soar.rollout.station import EpisodeConfig, Station
from soar.tasks.grammar import task_from_instruction
from soar.tasks.proposer import UncertaintyProposer, feasible_tasks
from soar.tasks.success_detector import VLMSuccessDetector
from soar.types import Proposal, Query, Question, Verdict
from soar.utils.notices import Webhook

TASKS = tuple(task_from_instruction(i) for i in INSTRUCTIONS)
DETECTOR = VLMSuccessDetector(ToyVLM())
MODELS = Models(ToyVLM(), ToyPolicy(), ToySubgoals(), DETECTOR)
QUICK = Backoff(initial_s=0.002, max_s=0.004, max_outage_s=0.01)
CONFIG = CollectionConfig(
    episode=EpisodeConfig(2, 12),
    backoff=QUICK,
    fault_limits=FaultLimits(recovery_pause_s=0.001),
    overlap=False,
)


def make_station(name: str = "one", seed: int = 0, rates: FaultRates | None = None) -> Station:
    toy = ToyRobot(seed)
    robot = SafeRobot(FaultyRobot(toy, rates, seed) if rates else toy)
    return Station(name, robot, TASKS, UncertaintyProposer(TASKS), "toy", "dev", seed, toy)


def work(
    folder: Path,
    stations: list[Station],
    models: Models = MODELS,
    config: CollectionConfig = CONFIG,
    webhook: str = "",
    **options: Any,
) -> tuple[LanceStore, CollectionSummary]:
    """Collect into a store at `folder` and return it with the summary."""
    store = open_store(folder, create=True)
    channels = [Webhook(webhook)] if webhook else []
    places = [StatusFolder(folder, s.name, channels) for s in stations]
    options = {"episodes": 3} | options
    return store, collect(stations, models, store, places, config, **options)


def kinds(folder: Path, name: str = "one") -> Counter[str]:
    return Counter(e["kind"] for e in StatusFolder(folder, name).events())


def reasons(store: LanceStore) -> list[str]:
    """Why each task was chosen, oldest first."""
    return [s.provenance.proposal.reason for s in store.query() if s.provenance.proposal]


# Many episodes with every fault --------------------------------------------------------------


class FlakyVLM(ToyVLM):
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def answer(self, images, questions):
        replies = super().answer(images, questions)
        luck = self.rng.random()
        if luck < 0.03:
            raise ModelUnavailable("the VLM is down (injected)")
        if luck < 0.05:
            return replies[:-1]
        if luck < 0.10:
            return [[a._replace(p_yes=float("nan")) for a in r] for r in replies]
        if luck < 0.12:
            return [[a._replace(question=Question("what?")) for a in r] for r in replies]
        return replies


class FlakySubgoals(ToySubgoals):
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def generate(self, observations, tasks, rng):
        luck = self.rng.random()
        if luck < 0.01:
            raise ModelUnavailable("the subgoal server is down (injected)")
        made = super().generate(observations, tasks, rng)
        return made if luck > 0.015 else made.astype(np.float32)


class FlakyPolicy(ToyPolicy):
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def act(self, observations, goals, rng, *, noise=0.0):
        actions = super().act(observations, goals, rng, noise=noise)
        luck = self.rng.random()
        if luck < 0.002:
            actions[0, 2] = np.nan
        elif luck < 0.004:
            actions[0] *= 1e6
        return actions


def storm(folder: Path, episodes: int) -> None:
    """Collect with three stations and random faults until the store holds `episodes` complete episodes."""
    logging.disable(logging.CRITICAL)
    rng = np.random.default_rng(0)
    models = Models(FlakyVLM(rng), FlakyPolicy(rng), FlakySubgoals(rng), DETECTOR)
    rates = FaultRates(motor=0.002, frozen=0.002, gone=0.001, recovery=0.7)
    stations = [make_station(f"arm{i}", i, rates) for i in range(3)]
    config = replace(
        CONFIG, fault_limits=FaultLimits(max_recoveries=12, recovery_pause_s=0, max_drops=50)
    )
    store, summary = work(folder, stations, models, config, episodes=episodes)
    safe: list[Any] = [s.robot for s in stations]
    injected = Counter(w for robot in safe for w in robot.robot.injected)
    check_storm(store, summary, injected, episodes)
    low, high = np.array(safe[0].limits.low), np.array(safe[0].limits.high)
    for robot in safe:
        visited = np.array(robot.robot.robot.visited)
        assert (visited >= low).all()
        assert (visited <= high).all()
    print(json.dumps({"summary": str(summary), "injected": injected}))


def check_storm(
    store: LanceStore, summary: CollectionSummary, injected: Counter[str], episodes: int
) -> None:
    summaries = list(store.query())
    assert len(summaries) == summary.episodes == episodes
    assert summary.broken == ()
    assert summary.dropped > episodes // 20
    assert min(injected[k] for k in ("motor", "frozen", "gone")) > 0
    for row in summaries:
        outcome, truth = row.verdict.outcome, row.provenance.truth
        assert outcome == "unknown" or (outcome == "success") == truth, row
        assert row.verdict.question or outcome == "unknown"
    outcomes = Counter(s.verdict.outcome for s in summaries)
    assert set(outcomes) == {"success", "failure", "unknown"}, outcomes
    for row in summaries[:: max(1, episodes // 100)]:
        episode = store.load(row.id)
        assert len(episode) == 24
        assert (np.diff(episode.times_s) >= 0).all()
        assert np.isfinite(episode.actions).all()
        assert [s.step for s in episode.subgoals] == [0, 12]


@pytest.mark.parametrize("episodes", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_faults_leave_no_broken_episode_and_no_wrong_label(episodes, tmp_path):
    """Runs in a process without the tests' type checks, which would take most of the time."""
    code = (
        f"import runpy; runpy.run_path({__file__!r})['storm']({str(tmp_path / 's')!r}, {episodes})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


# One fault at a time -------------------------------------------------------------------------------


def test_an_episode_carries_its_provenance(tmp_path):
    store, summary = work(
        tmp_path, [make_station()], config=replace(CONFIG, round=2), config_hash="c"
    )
    assert (summary.episodes, summary.dropped) == (3, 0)
    first, second, _ = store.query()
    p = first.provenance
    assert (p.station, p.scene, p.regime, p.round, p.config_hash) == ("one", "toy", "dev", 2, "c")
    assert p.checkpoint == "toy-policy"
    assert p.code_version
    assert abs(time.time() - p.started_s) < 60
    assert p.proposal is not None
    assert p.proposal.task.instruction == first.instruction
    assert p.truth == (first.verdict.outcome == "success")
    assert p.answers_after == second.provenance.answers_before
    assert {s.provenance.exploration["noise"] for s in store.query()} <= {0.0, 1.0}
    assert len({s.provenance.seed for s in store.query()}) == 3


def test_a_share_of_episodes_explores_and_records_it(tmp_path):
    config = replace(CONFIG, episode=EpisodeConfig(1, 1), exploring=0.5, noise=0.7)
    store, _ = work(tmp_path, [make_station()], config=config, episodes=30)
    noises = Counter(s.provenance.exploration["noise"] for s in store.query())
    assert set(noises) == {0.0, 0.7}
    assert 5 <= noises[0.7] <= 25


def test_stations_in_lockstep_explore_independently(tmp_path):
    config = replace(CONFIG, episode=EpisodeConfig(1, 1), exploring=0.5, noise=0.7)
    pair = [make_station("one"), make_station("two", seed=1)]
    store, _ = work(tmp_path, pair, config=config, episodes=20)
    noises: dict[str, list[float]] = {"one": [], "two": []}
    for s in store.query():
        noises[s.provenance.station].append(s.provenance.exploration["noise"])
    assert noises["one"] != noises["two"]


def test_tasks_alternate_by_the_counts_in_the_store(tmp_path):
    store, _ = work(tmp_path, [make_station()], episodes=6)
    assert [c.attempts for c in store.history().values()] == [3, 3]


def test_a_restart_continues_the_seeds_of_the_store(tmp_path):
    whole, _ = work(tmp_path / "whole", [make_station()], episodes=4)
    work(tmp_path / "parts", [make_station()], episodes=2)
    parts, _ = work(tmp_path / "parts", [make_station()], episodes=2)
    seeds = [[s.provenance.seed for s in store.query()] for store in (whole, parts)]
    assert seeds[0] == seeds[1]


def test_a_seed_comes_once_though_episodes_were_dropped_before_a_restart(tmp_path):
    fault_limits = FaultLimits(max_recoveries=10, recovery_pause_s=0)
    dropped = 0
    for seed in range(4):
        station = replace(make_station(rates=FaultRates(motor=0.02), seed=seed), seed=0)
        config = replace(CONFIG, fault_limits=fault_limits)
        store, summary = work(tmp_path, [station], config=config, episodes=3)
        dropped += summary.dropped
    assert dropped > 2
    seeds = [s.provenance.seed for s in store.query()]
    assert len(set(seeds)) == len(seeds) == 12


def test_a_motor_fault_drops_its_episode_and_is_recorded_in_the_next(tmp_path):
    station = make_station(rates=FaultRates(motor=0.02, recovery=0.6))
    fault_limits = FaultLimits(max_recoveries=10, recovery_pause_s=0)
    store, summary = work(
        tmp_path, [station], config=replace(CONFIG, fault_limits=fault_limits), episodes=6
    )
    assert summary.dropped > 0
    assert kinds(tmp_path)["robot fault"] == summary.faults
    faults = [f for s in store.query() for f in s.provenance.faults]
    assert faults
    assert set(faults) == {"robot fault: motor 3 reports an overload (injected)"}
    assert all(s.length == 24 for s in store.query())


def test_a_fault_that_stays_breaks_the_station_and_calls_a_person(tmp_path):
    station = make_station(rates=FaultRates(motor=1.0, recovery=0.0))
    _, summary = work(tmp_path, [station])
    assert summary == CollectionSummary(0, 1, 1, ("one",))
    assert kinds(tmp_path)["broken"] == 1
    assert StatusFolder(tmp_path, "one").status().activity == "broken"


def test_a_broken_station_does_not_stop_the_others(tmp_path):
    stations = [make_station(), make_station("two", 1, FaultRates(gone=1.0, recovery=0.0))]
    store, summary = work(tmp_path, stations, episodes=4)
    assert summary.broken == ("two",)
    assert {s.provenance.station for s in store.query()} == {"one"}
    assert summary.episodes == 4


def test_a_policy_with_invalid_actions_breaks_the_station(tmp_path):
    class Invalid(ToyPolicy):
        def act(self, observations, goals, rng, *, noise=0.0):
            return np.full((len(observations), 7), np.nan, np.float32)

    fault_limits = FaultLimits(max_drops=3, recovery_pause_s=0)
    config = replace(CONFIG, fault_limits=fault_limits)
    _, summary = work(tmp_path, [make_station()], replace(MODELS, policy=Invalid()), config)
    assert (summary.episodes, summary.dropped, summary.broken) == (0, 3, ("one",))
    assert kinds(tmp_path) == {"bad output": 3, "broken": 1}


class DownVLM(ToyVLM):
    """A VLM that is unavailable for the first calls."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def answer(self, images, questions):
        self.left -= 1
        if self.left >= 0:
            raise ModelUnavailable("connection refused")
        return super().answer(images, questions)


def test_a_short_outage_of_the_vlm_is_waited_for(tmp_path):
    config = replace(CONFIG, backoff=replace(QUICK, max_outage_s=5.0))
    store, _ = work(tmp_path, [make_station()], replace(MODELS, vlm=DownVLM(3)), config)
    assert all(s.verdict.outcome != "unknown" for s in store.query())


def test_without_a_vlm_episodes_are_judged_later(tmp_path):
    store, summary = work(tmp_path, [make_station()], replace(MODELS, vlm=DownVLM(10**6)))
    assert summary.episodes == 3
    assert {s.verdict.outcome for s in store.query()} == {"unknown"}
    assert reasons(store) == ["no answers"] * 3
    assert judge_unknown(store, DETECTOR).total() == 3
    for row in store.query():
        assert (row.verdict.outcome == "success") == row.provenance.truth
        assert row.verdict.judge == "toy-vlm"


def test_an_outage_of_the_subgoal_server_drops_the_episode_without_breaking_the_station(tmp_path):
    class Down(ToySubgoals):
        calls = 0

        def generate(self, observations, tasks, rng):
            self.calls += 1
            if self.calls < 40:
                raise ModelUnavailable("connection refused")
            return super().generate(observations, tasks, rng)

    _, summary = work(tmp_path, [make_station()], replace(MODELS, subgoals=Down()))
    assert summary.episodes == 3
    assert summary.dropped > 0
    assert summary.broken == ()
    assert kinds(tmp_path) == {"model down": 1, "back": 1}


class BrokenSubgoals(ToySubgoals):
    """Raises an exception from the third call to the tenth."""

    def __init__(self, error: Exception, first: int = 3) -> None:
        self.calls, self.first, self.error = 0, first, error

    def generate(self, observations, tasks, rng):
        self.calls += 1
        if self.first <= self.calls <= 10:
            raise self.error
        return super().generate(observations, tasks, rng)


class BrokenPolicy(ToyPolicy):
    def __init__(self, error: Exception, first: int = 3) -> None:
        self.calls, self.first, self.error = 0, first, error

    def act(self, observations, goals, rng, *, noise=0.0):
        self.calls += 1
        if self.first <= self.calls <= 10:
            raise self.error
        return super().act(observations, goals, rng, noise=noise)


class BrokenVLM(ToyVLM):
    def __init__(self, error: Exception, first: int = 3) -> None:
        self.calls, self.first, self.error = 0, first, error

    def answer(self, images, questions):
        self.calls += 1
        if self.first <= self.calls <= 10:
            raise self.error
        return super().answer(images, questions)


class BrokenDetector:
    name, threshold = "own", 0.5

    def __init__(self, error: Exception, first: int = 3) -> None:
        self.calls, self.first, self.error = 0, first, error

    def judge(self, episodes):
        self.calls += 1
        if self.first <= self.calls <= 4:
            raise self.error
        return DETECTOR.judge(episodes)


BROKEN = {
    "vlm": BrokenVLM,
    "subgoals": BrokenSubgoals,
    "policy": BrokenPolicy,
    "detector": BrokenDetector,
}


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("reset"),
        RuntimeError("CUDA out of memory"),
        KeyError("choices"),
        TypeError("bug"),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("component", BROKEN)
def test_any_exception_of_a_model_is_an_outage_that_calls_a_person_once(tmp_path, component, error):
    parts: dict[str, Any] = {component: BROKEN[component](error)}
    models = replace(MODELS, **parts)
    # 12 calls of each model at least: the 8 that fail end within them even if no time is left for a second attempt
    stations = [make_station("one"), make_station("two", 1)]
    _, summary = work(tmp_path, stations, models, episodes=24)
    assert (summary.episodes, summary.faults, summary.broken) == (24, 0, ())
    for name in ("one", "two"):
        assert kinds(tmp_path, name) == {"model down": 1, "back": 1}
        event = next(e for e in StatusFolder(tmp_path, name).events() if e["kind"] == "model down")
        assert f"raised {type(error).__name__} at {__file__}" in event["message"]


@pytest.mark.parametrize(
    ("component", "call"), list(zip(BROKEN, ("answer", "generate", "act", "judge"), strict=True))
)
def test_a_mistake_at_the_first_call_of_a_model_ends_with_its_name(tmp_path, component, call):
    parts: dict[str, Any] = {component: BROKEN[component](TypeError("got 'noise'"), first=1)}
    models = replace(MODELS, **parts)
    with pytest.raises(
        ConfigError, match=rf"{call}\(\) raised TypeError at .*: got 'noise'"
    ) as info:
        work(tmp_path, [make_station()], models)
    assert "\n" not in str(info.value)


def test_an_outage_is_shown_in_the_status_until_it_ends(tmp_path):
    seen: list[tuple[str, str]] = []

    class Look(Callback):
        def on_start(self, station, proposal):
            status = StatusFolder(tmp_path, "one").status()
            seen.append((status.activity, status.doing))

    detector = BrokenDetector(RuntimeError("CUDA out of memory"), first=2)
    work(
        tmp_path,
        [make_station()],
        replace(MODELS, detector=detector),
        episodes=6,
        callbacks=[Look()],
    )
    down = ["CUDA out of memory" in doing for _, doing in seen]
    assert down == [False, False, True, True, True, False]


def test_a_promoted_generator_is_retried_like_the_first_one(tmp_path):
    broken = BrokenSubgoals(ConnectionResetError("reset"))
    _, summary = work(tmp_path, [make_station()], refresh=lambda m: replace(m, subgoals=broken))
    assert (summary.episodes, summary.broken) == (3, ())


class FullStore(LanceStore):
    """A store whose disk is full for the first appends."""

    failures = 3

    def append(self, episode):
        if self.failures > 0:
            self.failures -= 1
            raise StoreError("the disk is full; free some space")
        return super().append(episode)


def full_store(folder: Path) -> FullStore:
    store = open_store(folder, create=True)
    return FullStore(store.path, store.identity, False, "jpeg")


def test_a_full_store_is_waited_for_however_long_and_a_person_is_told_once(tmp_path):
    store = full_store(tmp_path)
    store.failures = 30  # many times the longest outage of a model
    summary = collect(
        [make_station()], MODELS, store, [StatusFolder(tmp_path, "one")], CONFIG, episodes=2
    )
    assert summary.episodes == 2
    assert len(list(store.query())) == 2
    assert (kinds(tmp_path)["store"], kinds(tmp_path)["back"]) == (1, 1)


@pytest.mark.parametrize("spare", ["spare", "file/spare"])
def test_stopped_while_the_store_is_full_its_episodes_are_kept_elsewhere_or_named(tmp_path, spare):
    (tmp_path / "file").touch()
    store = full_store(tmp_path / "store")
    store.failures = 10**6
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    folders = [StatusFolder(store.path, "one")]
    options = {"episodes": 5, "stop": stop, "spare": tmp_path / spare}
    with pytest.raises(StoreError, match="the disk is full") as raised:
        collect([make_station()], MODELS, store, folders, CONFIG, **options)
    said = str(raised.value)
    if spare == "spare":
        kept = len(list(open_store(tmp_path / spare / "one").query()))
        assert kept
        assert f"{kept} kept in {tmp_path / spare}" in said
    else:
        assert "lost: " in said
        assert "(success)" in said


def test_the_next_collection_stores_what_was_kept_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    elsewhere, _ = work(tmp_path / "other", [make_station()], episodes=2)
    episodes = [elsewhere.load(s.id) for s in elsewhere.query()]
    store = open_store(tmp_path / "store", create=True)
    said = keep(spare_folder(store), episodes, StoreError("the disk is full"))
    assert "2 kept in" in said
    store.append(episodes[0])  # a restore that was interrupted
    restore(store, "one")
    assert [s.provenance.started_s for s in store.query()] == [
        e.provenance.started_s for e in episodes
    ]
    assert not (spare_folder(store) / "one").exists()


def test_a_kept_episode_that_the_store_refuses_stays_and_holds_no_other_up(tmp_path, monkeypatch):
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    elsewhere, _ = work(tmp_path / "other", [make_station()], episodes=3)
    episodes = [elsewhere.load(s.id) for s in elsewhere.query()]
    store = open_store(tmp_path / "store", create=True)
    keep(spare_folder(store), episodes, StoreError("the disk is full"))
    append, wrong = LanceStore.append, episodes[1].provenance.started_s

    def refusing(self, episode):
        if self.path == store.path and episode.provenance.started_s == wrong:
            raise ContentError("another arm's")
        return append(self, episode)

    monkeypatch.setattr(LanceStore, "append", refusing)
    restore(store, "one")
    assert len(list(store.query())) == 2
    assert len(list(open_store(spare_folder(store) / "one").query())) == 3


def test_a_kept_episode_that_is_damaged_stays_and_holds_no_other_up(tmp_path, monkeypatch):
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    elsewhere, _ = work(tmp_path / "other", [make_station()], episodes=3)
    store = open_store(tmp_path / "store", create=True)
    kept = [elsewhere.load(s.id) for s in elsewhere.query()]
    keep(spare_folder(store), kept, StoreError("the disk is full"))
    spare = open_store(spare_folder(store) / "one")
    _, damaged, _ = (spare.steps_path(s.id) for s in spare.query())
    damaged.write_bytes(bytes(100))
    for _ in range(2):
        restore(store, "one")
        assert len(list(store.query())) == 2
    assert damaged.exists()


def test_an_episode_that_cannot_be_kept_elsewhere_loses_no_other(tmp_path):
    elsewhere, _ = work(tmp_path / "other", [make_station()], episodes=3)
    first, damaged, last = (elsewhere.load(s.id) for s in elsewhere.query())
    damaged = replace(damaged, times_s=np.zeros_like(damaged.times_s))
    said = keep(tmp_path / "spare", [first, damaged, last], StoreError("the disk is full"))
    assert "of 3 finished episodes 2 kept in" in said
    assert "1 lost: " in said
    assert len(list(open_store(tmp_path / "spare" / "one").query())) == 2


class Blind(ToyVLM):
    """Doesn't see the block from the second request on."""

    requests = 0

    def __init__(self, p_present=0.0):
        super().__init__()
        self.p_present = p_present

    def answer(self, images, questions):
        self.requests += 1
        replies = super().answer(images, questions)
        if self.requests == 1:
            return replies
        return [
            [a._replace(p_yes=self.p_present) if "present" in a.question.text else a for a in r]
            for r in replies
        ]


@pytest.fixture
def webhook():
    received = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", received
    server.shutdown()
    server.server_close()


def test_a_lost_object_leaves_its_tasks_out_and_calls_a_person(tmp_path, webhook):
    url, received = webhook
    fault_limits = FaultLimits(reset_after=0)
    config = replace(CONFIG, fault_limits=fault_limits)
    store, _ = work(
        tmp_path, [make_station()], replace(MODELS, vlm=Blind()), config, url, episodes=4
    )
    assert reasons(store) == ["uncertain"] + ["nothing feasible"] * 3
    assert StatusFolder(tmp_path, "one").status().missing == ("green block",)
    deadline = time.monotonic() + 10
    while not received and time.monotonic() < deadline:
        time.sleep(0.01)
    assert received[0]["message"] == "the green block isn't there any more; please put it back"
    assert kinds(tmp_path) == {"missing": 1}


def test_an_object_that_is_only_doubted_leaves_its_tasks_out_and_calls_nobody(tmp_path):
    models = replace(MODELS, vlm=Blind(p_present=0.3))
    store, _ = work(tmp_path, [make_station()], models, episodes=4)
    assert reasons(store) == ["uncertain"] + ["nothing feasible"] * 3
    assert StatusFolder(tmp_path, "one").status().missing == ()
    assert kinds(tmp_path) == {}


def test_a_simulated_table_is_reset_when_an_object_is_missing(tmp_path):
    config = replace(CONFIG, fault_limits=FaultLimits(missing_after=1, reset_after=2))
    work(tmp_path, [make_station()], replace(MODELS, vlm=Blind()), config, episodes=5)
    assert kinds(tmp_path)["back"] >= 1


class Lame(ToyPolicy):
    """Doesn't move in its first episodes."""

    def __init__(self, episodes):
        self.left = episodes

    def act(self, observations, goals, rng, *, noise=0.0):
        actions = super().act(observations, goals, rng, noise=noise)
        return actions if self.left < 0 else np.zeros_like(actions)

    def reset(self):
        self.left -= 1


def test_a_person_is_called_once_to_a_table_on_which_nothing_succeeds(tmp_path, webhook):
    url, received = webhook
    station = replace(make_station(), simulation=None)
    config = replace(CONFIG, fault_limits=FaultLimits(stuck_after=3))
    models = replace(MODELS, policy=Lame(episodes=5))
    store, _ = work(tmp_path, [station], models, config, url, episodes=7)
    assert [e.verdict.outcome for e in store.query()][:6] == ["failure"] * 5 + ["success"]
    events = [(e["kind"], e["message"]) for e in StatusFolder(tmp_path, "one").events()]
    assert events == [
        ("stuck", "no success in 3 episodes in a row; please look at the table"),
        ("back", "a task succeeded again"),
    ]
    deadline = time.monotonic() + 10
    while not received and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "please look at the table" in received[0]["message"]


@pytest.mark.parametrize(("after", "resets"), [(2, 3), (0, 0)])
def test_a_simulated_table_is_reset_when_nothing_succeeds_and_nobody_is_called(
    tmp_path, webhook, after, resets
):
    url, received = webhook
    config = replace(CONFIG, fault_limits=FaultLimits(stuck_after=after))
    models = replace(MODELS, policy=Lame(episodes=99))
    work(tmp_path, [make_station()], models, config, url, episodes=7)
    messages = [e["message"] for e in StatusFolder(tmp_path, "one").events()]
    time.sleep(0.3)  # a message takes some milliseconds
    assert not received
    expected = ["reset the simulated table after 2 failures in a row"] * resets
    assert [m for m in messages if m.startswith("reset")] == expected


# Commands and status -------------------------------------------------------------------------------


class When(Callback):
    """Calls a function at the end of the nth episode."""

    def __init__(self, n: int, action: Callable[[], object]) -> None:
        self.left, self.action = n, action

    def on_episode(self, station, result):
        self.left -= 1
        if self.left == 0:
            self.action()


def test_a_stop_command_ends_after_the_running_episode(tmp_path):
    status_folder = StatusFolder(tmp_path, "one")
    stop = When(2, lambda: status_folder.request("stop"))
    _, summary = work(tmp_path, [make_station()], episodes=50, callbacks=[stop])
    assert summary.episodes == 2
    assert status_folder.status().activity == "stopped"


def test_one_station_can_be_stopped_and_started_again(tmp_path):
    status_folder = StatusFolder(tmp_path, "one")
    stop = When(2, lambda: status_folder.request("stop"))
    stations = [make_station(), make_station("two", 1)]
    store, summary = work(tmp_path, stations, episodes=6, callbacks=[stop])
    by_station = Counter(s.provenance.station for s in store.query())
    assert (summary.episodes, by_station["one"]) == (6, 1)
    _, summary = work(tmp_path, [make_station()], episodes=1)
    assert summary.episodes == 1


def test_a_paused_station_waits_and_resumes(tmp_path):
    status_folder = StatusFolder(tmp_path, "one")
    open_store(tmp_path, create=True)
    status_folder.request("pause")
    threading.Timer(0.7, lambda: status_folder.request("run")).start()
    start = time.monotonic()
    _, summary = work(tmp_path, [make_station()], episodes=1)
    assert summary.episodes == 1
    assert time.monotonic() - start > 0.6


def test_an_arm_goes_home_first_although_its_station_was_paused_at_the_start(tmp_path):
    status_folder = StatusFolder(tmp_path, "one")
    open_store(tmp_path, create=True)
    status_folder.request("pause")
    moves: list[str] = []
    station = make_station()
    for name in ("home", "execute"):
        noting(station.robot, name, moves)
    threading.Timer(0.2, lambda: status_folder.request("run")).start()
    work(tmp_path, [station], episodes=1)
    assert moves[0] == "home"


def noting(robot: Any, name: str, moves: list[str]) -> None:
    move = getattr(robot, name)

    def noted(*inputs: Any) -> Any:
        moves.append(name)
        return move(*inputs)

    setattr(robot, name, noted)


@pytest.mark.parametrize("meanwhile", ["paused", "waiting"])
def test_an_arm_goes_home_after_a_hold_whatever_the_station_does_meanwhile(tmp_path, meanwhile):
    folder, robot = StatusFolder(tmp_path / "s", "one"), ToyRobot()
    guard = MotionGuard(folder.folder)
    station = replace(make_station(), robot=robot, simulation=None, guard=guard)
    store, stop = open_store(tmp_path / "s", create=True), threading.Event()
    supervisor = StationSupervisor(station, store, folder, FaultLimits(), stop)
    supervisor.observe()
    supervisor.observe()
    assert (supervisor.willing(), robot.homed) == (True, 1)
    folder.request("emergency")
    assert not supervisor.willing()
    if meanwhile == "paused":
        folder.request("pause")
        release_motion(folder.folder)
        assert not supervisor.willing()
    else:
        supervisor.show("waiting", "the store is away")
        release_motion(folder.folder)
    folder.request("run")
    assert supervisor.willing()
    supervisor.observe()
    assert robot.homed == 2


def test_the_status_shows_the_running_task(tmp_path):
    statuses = []
    read = When(1, lambda: statuses.append(StatusFolder(tmp_path, "one").status()))
    work(tmp_path, [make_station()], episodes=2, callbacks=[read])
    assert (statuses[0].activity, statuses[0].scene, statuses[0].pid) == (
        "collecting",
        "toy",
        os.getpid(),
    )
    assert statuses[0].doing in INSTRUCTIONS
    [status_folder] = status_folders(tmp_path)
    assert status_folder.status().episodes == 2


def test_stations_need_names_that_differ(tmp_path):
    with pytest.raises(ConfigError, match="names that differ"):
        work(tmp_path, [make_station(), make_station()])


def test_a_promoted_checkpoint_drives_the_next_episode(tmp_path):
    class Better(ToyPolicy):
        name = "better"

    turns = iter([ToyPolicy(), Better(), Better()])
    store, _ = work(tmp_path, [make_station()], refresh=lambda m: replace(m, policy=next(turns)))
    assert [s.provenance.checkpoint for s in store.query()] == ["toy-policy", "better", "better"]


def test_killed_at_any_moment_collection_resumes_with_complete_episodes(tmp_path):
    code = f"import runpy; runpy.run_path({__file__!r})['forever']({str(tmp_path)!r})"
    rng = np.random.default_rng(0)
    for _ in range(3):
        before = count(tmp_path)
        process = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 60
        while count(tmp_path) < before + 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert count(tmp_path) > before
    store = open_store(tmp_path)
    summaries = list(store.query())
    assert len({s.provenance.seed for s in summaries}) == len(summaries)
    for row in summaries:
        assert len(store.load(row.id)) == 24
        assert (row.verdict.outcome == "success") == row.provenance.truth


def forever(folder: Path) -> None:
    work(Path(folder), [make_station()], episodes=10**6)


def count(folder: Path) -> int:
    if not (folder / "store.json").exists():
        return 0
    return sum(c.attempts for c in open_store(folder).history(Query()).values())


def test_a_task_that_was_already_done_is_no_success(tmp_path):
    class AnyTask(UncertaintyProposer):
        """Proposes a task that isn't feasible, as the random choice may."""

        def propose(self, observation, answers, history, rng):
            feasible = feasible_tasks(self.tasks, answers)
            done = next(t for t in self.tasks if t not in feasible)
            return Proposal(done, "nothing feasible")

    station = make_station()
    store, _ = work(tmp_path, [replace(station, proposer=AnyTask(station.tasks))])
    for row in store.query():
        assert (row.verdict.outcome, row.provenance.truth) == ("failure", False)


def test_judging_later_keeps_known_verdicts(tmp_path):
    store, _ = work(tmp_path, [make_station()], episodes=2)
    first, second = store.query()
    store.set_verdict(first.id, Verdict("unknown"))
    assert sum(judge_unknown(store, DETECTOR).values()) == 1
    again = list(store.query())
    assert again[0].verdict.outcome == first.verdict.outcome
    assert again[1].verdict == second.verdict


def test_stored_episodes_can_be_judged_by_all_of_their_frames(tmp_path):
    class Length:
        name, threshold = "length", 0.5

        def judge_episode(self, frames, task):
            return Verdict("success" if len(frames) == 25 else "failure", 1.0, judge=self.name)

    store, _ = work(tmp_path, [make_station()], replace(MODELS, vlm=DownVLM(10**6)), episodes=2)
    assert judge_unknown(store, Length()) == {"success": 2}
    assert {row.verdict.judge for row in store.query()} == {"length"}


def test_proposals_count_every_episode_before_them(tmp_path):
    """Also the episode that is still being stored."""
    counts: list[int] = []

    class Spy(UncertaintyProposer):
        def propose(self, observation, answers, history, rng):
            counts.append(sum(c.attempts for c in history.values()))
            return super().propose(observation, answers, history, rng)

    station = replace(make_station(), proposer=Spy(TASKS))
    work(tmp_path, [station], episodes=5)
    work(tmp_path, [station], episodes=2)
    assert counts == [0, 1, 2, 3, 4, 5, 6]


# Episodes that the store refuses ----------------------------------------------------------------


class StillClock(ToyRobot):
    """An arm whose clock stands still during its first episodes."""

    episodes = 0
    good_after = 2

    def home(self) -> None:
        super().home()
        self.episodes += 1

    def observe(self):
        seen = super().observe()
        still = self.episodes <= self.good_after
        return replace(seen, time_s=1.0 if still else 100.0 + time.monotonic())


def still_station(good_after: int) -> Station:
    arm = StillClock(0)
    arm.good_after = good_after
    return Station("one", SafeRobot(arm), TASKS, UncertaintyProposer(TASKS), "toy", "dev", 0, arm)


def test_an_episode_that_the_store_refuses_does_not_count_as_stored(tmp_path):
    store, summary = work(tmp_path, [still_station(2)], episodes=2)
    refused = kinds(tmp_path)["refused"]
    assert len(list(store.query())) == summary.episodes == 2
    assert refused == summary.dropped > 0


def test_a_station_whose_episodes_are_all_refused_is_broken(tmp_path):
    limits = replace(CONFIG.fault_limits, max_drops=3)
    store, summary = work(
        tmp_path, [still_station(999)], config=replace(CONFIG, fault_limits=limits), episodes=50
    )
    assert not list(store.query())
    assert summary.episodes == 0
    assert summary.broken == ("one",)
    assert 3 <= summary.dropped <= 5
    last = [e for e in StatusFolder(tmp_path, "one").events() if e["kind"] == "broken"]
    assert "3 episodes refused in a row" in last[0]["message"]
