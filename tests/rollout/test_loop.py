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
from soar.rollout.loop import run_episodes
from soar.rollout.models import Models
from soar.rollout.station import EpisodeConfig, Station
from soar.tasks.grammar import task_from_instruction
from soar.tasks.proposer import UncertaintyProposer
from soar.tasks.success_detector import VLMSuccessDetector, to_verdict
from soar.types import EpisodeFrames, Images, Step, Subgoal, Task, TaskCount, Verdict
from soar.utils.clock import Clock, Metronome

TASKS = tuple(task_from_instruction(i) for i in INSTRUCTIONS)
MODELS = Models(ToyVLM(), ToyPolicy(), ToySubgoals(), VLMSuccessDetector(ToyVLM()))


class Log(Callback):
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
    assessments = assess(models.vlm, [(s.robot.observe(), s.tasks) for s in stations])
    rng = np.random.default_rng(seed)
    return run_episodes(
        stations, assessments, models, episode_config, [{} for _ in stations], rng, **options
    )


def test_an_episode_is_five_subgoals_of_twenty_steps():
    log = Log()
    [result] = run([station()], callback=log)
    assert [s.index for s in log.steps] == list(range(100))
    assert [s.step for s in log.subgoals] == [0, 20, 40, 60, 80]
    assert all(s.subgoal is log.subgoals[s.index // 20] for s in log.steps)
    assert log.lines[0] == ("start", "one")
    assert log.lines[-1] == ("episode", "one")
    assert log.results == [result]


def test_the_robot_does_the_feasible_task_and_the_episode_is_judged():
    toy = ToyRobot(0)
    robot = station(SafeRobot(toy))
    [result] = run([robot])
    task = result.proposal.task.instruction
    assert result.proposal.feasible == (task,)
    assert result.verdict.outcome == "success"
    assert toy.truth(task)
    assert toy.homed == 1


def test_the_assessment_of_the_last_frame_proposes_the_next_task():
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


def test_the_vlm_is_asked_once_before_and_once_after_an_episode():
    vlm = CountingVLM()
    models = replace(MODELS, vlm=vlm, detector=VLMSuccessDetector(vlm))
    run([station(), station(name="two", seed=3)], models)
    assert len(vlm.calls) == 2, "one batch before, one after"
    for asked in vlm.calls[1]:
        assert len(asked) == len(set(asked)) == 3


def test_a_policy_without_subgoals_follows_the_instruction():
    log = Log()
    [result] = run([station()], replace(MODELS, subgoals=None), callback=log)
    assert result.verdict.outcome == "success"
    assert log.subgoals == []
    assert log.steps[0].subgoal is None


def test_a_seed_determines_the_episode_with_and_without_overlap():
    def executed(**options: Any) -> np.ndarray:
        log = Log()
        run([station()], callback=log, noise=1.0, **options)
        return np.stack([s.executed for s in log.steps])

    for episode_config in (EpisodeConfig(), EpisodeConfig(prefetch_steps=3)):
        plain = executed(episode_config=episode_config)
        assert np.array_equal(plain, executed(episode_config=episode_config))
        with ThreadPoolExecutor(2) as worker:
            assert np.array_equal(plain, executed(episode_config=episode_config, worker=worker))
        assert not np.array_equal(plain, executed(episode_config=episode_config, seed=1))


def test_a_prefetched_subgoal_is_generated_from_an_earlier_image():
    images = []

    class Watching(ToySubgoals):
        def generate(self, observations, tasks, rng):
            images.append(observations[0].image)
            return super().generate(observations, tasks, rng)

    log = Log()
    with ThreadPoolExecutor(2) as worker:
        run(
            [station()],
            replace(MODELS, subgoals=Watching()),
            EpisodeConfig(prefetch_steps=3),
            callback=log,
            worker=worker,
        )
    assert [s.step for s in log.subgoals] == [0, 20, 40, 60, 80]
    for k, image in enumerate(images):
        assert np.array_equal(image, log.steps[max(0, 20 * k - 3)].observation.image)


def test_stations_in_lockstep_share_batches_and_a_fault_stops_only_its_own_robot():
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


def test_robots_in_other_processes_do_the_same():
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


class Constant(ToyPolicy):
    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def act(self, observations, goals, rng, *, noise=0.0):
        return self.value


def test_actions_that_are_not_finite_break_the_episode_off():
    nan = np.full((1, 7), np.nan, np.float32)
    toy = ToyRobot(0)
    [result] = run([station(SafeRobot(toy))], replace(MODELS, policy=Constant(nan)))
    assert isinstance(result.fault, UnsafeAction)
    assert result.verdict.outcome == "unknown"
    assert toy.visited == []
    with pytest.raises(BadOutput, match=r"shape \(1, 6\) for 1 robots"):
        run([station()], replace(MODELS, policy=Constant(np.zeros((1, 6), np.float32))))


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.float32), None]
)
def test_subgoals_that_are_not_images_are_refused(images):
    class Broken(ToySubgoals):
        def generate(self, *_):
            return images

    with pytest.raises(BadOutput, match="toy-subgoals gave"):
        run([station()], replace(MODELS, subgoals=Broken()))


def test_an_episode_whose_verdict_is_none_is_unknown_and_kept():
    class Broken:
        name, threshold = "broken", 0.5

        def judge(self, episodes):
            return [0.9 for _ in episodes]

    [result] = run([station()], replace(MODELS, detector=Broken()))
    assert (result.fault, result.verdict.outcome) == (None, "unknown")


class Silent(ToyVLM):
    def answer(self, images, questions):
        raise ModelUnavailable("connection refused")


def test_without_a_vlm_the_task_is_random_and_the_verdict_unknown():
    [result] = run([station()], replace(MODELS, vlm=Silent()))
    assert result.proposal.reason == "no answers"
    assert result.verdict.outcome == "unknown"
    assert result.after.answers == {}


class Invalid(ToyVLM):
    def __init__(self, p: float | None) -> None:
        self.p = p

    def answer(self, images, questions):
        replies = super().answer(images, questions)
        return [[a._replace(p_yes=self.p) for a in r] for r in replies]


@pytest.mark.parametrize("p", [float("nan"), 7.0, -1.0, None])
def test_an_answer_without_a_valid_probability_never_becomes_a_label(p):
    [result] = run([station()], replace(MODELS, vlm=Invalid(p)))
    assert result.verdict.outcome == "unknown"
    assert result.proposal.reason == "no answers"


class RecordingDetector:
    """Remembers the episodes that it judges."""

    name, threshold = "recording", 0.5

    def __init__(self) -> None:
        self.episodes: list[EpisodeFrames] = []

    def judge(self, episodes):
        self.episodes += episodes
        return [to_verdict(e.task, 0.9, self.name, self.threshold) for e in episodes]


def test_a_success_detector_gets_first_and_last_frame_and_the_answers_of_the_vlm():
    detector, log = RecordingDetector(), Log()
    [result] = run([station()], replace(MODELS, detector=detector), callback=log)
    [episode] = detector.episodes
    assert (result.verdict.outcome, result.verdict.judge) == ("success", "recording")
    assert np.array_equal(episode.images[0], log.steps[0].observation.image)
    assert np.array_equal(episode.images[-1], result.after.observation.image)
    assert len(episode.images) == 2
    assert episode.answers_before == result.before.answers
    assert episode.answers_after == result.after.answers


class Whole:
    """Judges all frames."""

    name, threshold = "whole", 0.5

    def __init__(self) -> None:
        self.frames: list[Images] = []

    def judge_episode(self, frames: Images, task: Task) -> Verdict:
        self.frames.append(frames)
        return to_verdict(task, 0.2, self.name, self.threshold)


def test_a_success_detector_may_see_the_whole_episode():
    detector, log = Whole(), Log()
    [result] = run(
        [station()], replace(MODELS, detector=detector), EpisodeConfig(2, 7), callback=log
    )
    [frames] = detector.frames
    observed = [s.observation.image for s in log.steps] + [result.after.observation.image]
    assert np.array_equal(frames, np.stack(observed))
    assert result.verdict.outcome == "failure"


def test_an_unavailable_success_detector_leaves_the_verdict_unknown(caplog):
    class Down(RecordingDetector):
        def judge(self, episodes):
            raise ModelUnavailable("no reward model there")

    [result] = run([station()], replace(MODELS, detector=Down()))
    assert (result.verdict.outcome, result.verdict.judge) == ("unknown", "recording")
    assert result.after.answers
    assert "no reward model there" in caplog.text


def test_the_period_is_kept_and_lateness_measured(caplog):
    clock = Clock(speed=20)
    metronome = Metronome(clock, 0.2)
    robot = MeteredRobot(SafeRobot(ToyRobot(0)), clock)
    log = Log()
    run([station(robot)], episode_config=EpisodeConfig(2, 10), metronome=metronome, callback=log)
    assert metronome.jitter.ticks == 21
    assert clock.now() >= 20 * 0.2
    assert 0 < robot.duty_cycle() <= 1


def test_a_slow_policy_is_reported(caplog):
    class Slow(ToyPolicy):
        def act(self, observations, goals, rng, *, noise=0.0):
            clock.sleep(0.5)
            return super().act(observations, goals, rng, noise=noise)

    clock = Clock(speed=20)
    metronome = Metronome(clock, 0.2)
    run([station()], replace(MODELS, policy=Slow()), EpisodeConfig(1, 5), metronome=metronome)
    assert metronome.jitter.missed >= 4
    assert "a model or the machine is too slow" in caplog.text


def test_all_callbacks_of_a_list_are_called():
    logs = [Log(), Log()]
    run([station()], episode_config=EpisodeConfig(1, 3), callback=CallbackList(logs))
    assert logs[0].lines == logs[1].lines


def test_prefetching_a_whole_subgoal_early_is_refused():
    with pytest.raises(ConfigError, match="valid: below steps_per_subgoal"):
        EpisodeConfig(prefetch_steps=20)
