from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from soar.errors import BadOutput, ConfigError, ModelUnavailable, RobotFault, UnsafeAction
from soar.interfaces import Robot
from soar.robots.duty_cycle import MeteredRobot
from soar.robots.faulty import FaultRates, FaultyRobot
from soar.robots.process import ProcessRobot
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS, ToyPolicy, ToySubgoals, ToyVLM
from soar.rollout.assessment import assess
from soar.rollout.callbacks import Callback, CallbackList, EpisodeResult
from soar.rollout.live_page import LivePage
from soar.rollout.loop import run_episodes
from soar.rollout.station import EpisodeConfig, Models, Station
from soar.tasks.grammar import task_from_instruction
from soar.tasks.proposer import UncertaintyProposer
from soar.types import Step, Subgoal, TaskCount
from soar.utils.clock import Clock, Metronome

TASKS = tuple(task_from_instruction(i) for i in INSTRUCTIONS)
MODELS = Models(ToyVLM(), ToyPolicy(), ToySubgoals())


class Diary(Callback):
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.steps: list[Step] = []
        self.subgoals: list[Subgoal] = []
        self.results: list[EpisodeResult] = []

    def on_start(self, station, proposal):
        self.lines.append(("start", station.name))

    def on_subgoal(self, station, subgoal):
        self.lines.append(("subgoal", station.name))
        self.subgoals.append(subgoal)

    def on_step(self, station, step):
        self.lines.append(("step", station.name))
        self.steps.append(step)

    def on_episode(self, station, result):
        self.lines.append(("episode", station.name))
        self.results.append(result)


def station(robot: Robot | None = None, name: str = "one", seed: int = 0) -> Station:
    robot = robot or SafeRobot(ToyRobot(seed))
    return Station(name, robot, TASKS, UncertaintyProposer(TASKS), "toy")


def run(
    stations: list[Station],
    models: Models = MODELS,
    episode_config: EpisodeConfig = EpisodeConfig(),  # noqa: B008
    seed: int = 0,
    **options: Any,
) -> list[EpisodeResult]:
    looks = assess(models.vlm, [(s.robot.observe(), s.tasks) for s in stations])
    rng = np.random.default_rng(seed)
    return run_episodes(
        stations, looks, models, episode_config, [{} for _ in stations], rng, **options
    )


def test_an_episode_is_five_subgoals_of_twenty_steps():
    diary = Diary()
    [result] = run([station()], callback=diary)
    assert [s.index for s in diary.steps] == list(range(100))
    assert [s.step for s in diary.subgoals] == [0, 20, 40, 60, 80]
    assert all(s.subgoal is diary.subgoals[s.index // 20] for s in diary.steps)
    assert diary.lines[0] == ("start", "one")
    assert diary.lines[-1] == ("episode", "one")
    assert diary.results == [result]


def test_the_robot_does_the_feasible_task_and_is_judged():
    toy = ToyRobot(0)
    robot = station(SafeRobot(toy))
    [result] = run([robot])
    task = result.proposal.task.instruction
    assert result.proposal.feasible == (task,)
    assert result.verdict.outcome == "success"
    assert toy.truth(task)
    assert toy.homed == 1


def test_the_last_look_proposes_the_next_task():
    robot = station()
    [first] = run([robot])
    history = {first.proposal.task.instruction: TaskCount(1, 1)}
    [second] = run_episodes(
        [robot], [first.after], MODELS, EpisodeConfig(), [history], np.random.default_rng(1)
    )
    assert second.proposal.task != first.proposal.task
    assert second.before is first.after


class CountingVLM(ToyVLM):
    def __init__(self) -> None:
        self.calls: list[list[list[str]]] = []

    def answer(self, images, questions):
        self.calls.append([list(q) for q in questions])
        return super().answer(images, questions)


def test_nobody_asks_twice():
    vlm = CountingVLM()
    run([station(), station(name="two", seed=3)], replace(MODELS, vlm=vlm))
    assert len(vlm.calls) == 2, "one batched look before, one after"
    for asked in vlm.calls[1]:
        assert len(asked) == len(set(asked)) == 3


def test_words_drive_a_policy_without_subgoals():
    diary = Diary()
    [result] = run([station()], replace(MODELS, subgoals=None), callback=diary)
    assert result.verdict.outcome == "success"
    assert diary.subgoals == []
    assert diary.steps[0].subgoal is None


def test_the_same_seed_is_the_same_episode_alone_or_overlapped():
    def story(**options: Any) -> np.ndarray:
        diary = Diary()
        run([station()], callback=diary, noise=1.0, **options)
        return np.stack([s.executed for s in diary.steps])

    for episode_config in (EpisodeConfig(), EpisodeConfig(prefetch_steps=3)):
        plain = story(episode_config=episode_config)
        assert np.array_equal(plain, story(episode_config=episode_config))
        with ThreadPoolExecutor(2) as worker:
            assert np.array_equal(plain, story(episode_config=episode_config, worker=worker))
        assert not np.array_equal(plain, story(episode_config=episode_config, seed=1))


def test_ahead_of_time_the_subgoal_comes_from_an_earlier_picture():
    seen = []

    class Watching(ToySubgoals):
        def generate(self, observations, instructions, rng):
            seen.append(observations[0].image)
            return super().generate(observations, instructions, rng)

    diary = Diary()
    with ThreadPoolExecutor(2) as worker:
        run(
            [station()],
            replace(MODELS, subgoals=Watching()),
            EpisodeConfig(prefetch_steps=3),
            callback=diary,
            worker=worker,
        )
    assert [s.step for s in diary.subgoals] == [0, 20, 40, 60, 80]
    for k, picture in enumerate(seen):
        assert np.array_equal(picture, diary.steps[max(0, 20 * k - 3)].observation.image)


def test_lockstep_shares_batches_and_a_fault_stops_only_its_own_robot():
    batches = []

    class Watching(ToyPolicy):
        def act(self, observations, goals, rng, *, noise=0.0):
            batches.append(len(observations))
            return super().act(observations, goals, rng, noise=noise)

    faulty = FaultyRobot(ToyRobot(1), FaultRates(motor=0.05), seed=4)
    stations = [station(), station(SafeRobot(faulty), "two"), station(name="three", seed=2)]
    results = run(stations, replace(MODELS, policy=Watching()))
    assert isinstance(results[1].fault, RobotFault)
    assert [e.fault for e in (results[0], results[2])] == [None, None]
    assert results[0].verdict.outcome == results[2].verdict.outcome == "success"
    assert batches == [3] * 100, "places in the batch stay"
    assert results[1].verdict.outcome == "unknown"


def test_robots_in_processes_do_the_same_as_here():
    def make(seed: int) -> ProcessRobot:
        return ProcessRobot(partial(safe_toy, seed))

    here = run([station(seed=0), station(name="two", seed=1)])
    there = [station(make(0)), station(make(1), "two")]
    results = run(there)
    for a, b in zip(here, results, strict=True):
        assert a.verdict == b.verdict
        assert np.array_equal(a.after.observation.image, b.after.observation.image)
    for s in there:
        s.robot.close()


def safe_toy(seed: int) -> SafeRobot[ToyRobot]:
    return SafeRobot(ToyRobot(seed))


class Garbage(ToyPolicy):
    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def act(self, observations, goals, rng, *, noise=0.0):
        return self.value


def test_a_policy_that_gives_no_numbers_breaks_the_episode_off():
    nan = np.full((1, 7), np.nan, np.float32)
    toy = ToyRobot(0)
    [result] = run([station(SafeRobot(toy))], replace(MODELS, policy=Garbage(nan)))
    assert isinstance(result.fault, UnsafeAction)
    assert result.verdict.outcome == "unknown"
    assert toy.visited == []
    with pytest.raises(BadOutput, match=r"shape \(1, 6\) for 1 robots"):
        run([station()], replace(MODELS, policy=Garbage(np.zeros((1, 6), np.float32))))


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.float32), None]
)
def test_subgoals_that_are_no_pictures_are_refused(images):
    class Broken(ToySubgoals):
        def generate(self, *_):
            return images

    with pytest.raises(BadOutput, match="toy-subgoals gave"):
        run([station()], replace(MODELS, subgoals=Broken()))


class Silent(ToyVLM):
    def answer(self, images, questions):
        raise ModelUnavailable("nobody there")


def test_without_a_vlm_the_task_is_random_and_the_verdict_unknown():
    [result] = run([station()], replace(MODELS, vlm=Silent()))
    assert result.proposal.reason == "no answers"
    assert result.verdict.outcome == "unknown"
    assert result.after.answers == {}


class Mumbling(ToyVLM):
    def __init__(self, p: float | None) -> None:
        self.p = p

    def answer(self, images, questions):
        replies = super().answer(images, questions)
        return [[a._replace(p_yes=self.p) for a in r] for r in replies]


@pytest.mark.parametrize("p", [float("nan"), 7.0, -1.0, None])
def test_an_answer_that_is_none_never_becomes_a_label(p):
    [result] = run([station()], replace(MODELS, vlm=Mumbling(p)))
    assert result.verdict.outcome == "unknown"
    assert result.proposal.reason == "no answers"


def test_the_period_is_kept_and_lateness_noted(caplog):
    clock = Clock(speed=20)
    metronome = Metronome(clock, 0.2)
    robot = MeteredRobot(SafeRobot(ToyRobot(0)), clock)
    diary = Diary()
    run([station(robot)], episode_config=EpisodeConfig(2, 10), metronome=metronome, callback=diary)
    assert metronome.jitter.ticks == 21
    assert clock.now() >= 20 * 0.2
    assert 0 < robot.duty_cycle() <= 1


def test_a_slow_policy_is_said_to_be_slow(caplog):
    class Slow(ToyPolicy):
        def act(self, observations, goals, rng, *, noise=0.0):
            clock.sleep(0.5)
            return super().act(observations, goals, rng, noise=noise)

    clock = Clock(speed=20)
    metronome = Metronome(clock, 0.2)
    run([station()], replace(MODELS, policy=Slow()), EpisodeConfig(1, 5), metronome=metronome)
    assert metronome.jitter.missed >= 4
    assert "a model is too slow" in caplog.text


def test_many_subscribers_are_told_the_same():
    diaries = [Diary(), Diary()]
    run([station()], episode_config=EpisodeConfig(1, 3), callback=CallbackList(diaries))
    assert diaries[0].lines == diaries[1].lines


def test_a_plan_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="prefetch_steps below steps"):
        EpisodeConfig(prefetch_steps=20)


def test_the_live_page_shows_every_station_and_how_it_was_judged(tmp_path):
    page = LivePage(tmp_path / "run")
    run([station(name="one"), station(name="two", seed=1)], callback=page)
    [result, _] = run([station(name="one"), station(name="two", seed=1)], callback=page)
    html = page.page.read_text()
    assert "one" in html
    assert result.proposal.task.instruction in html
    assert result.verdict.outcome in html
    assert (tmp_path / "run" / "live.jpg").read_bytes().startswith(b"\xff\xd8")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"live.html", "live.jpg"}
