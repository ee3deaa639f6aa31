"""Trials of the models on what the robots observe. `model_checks` judges the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from soar.doctor.model_checks import (
    check_contracts,
    check_detector,
    check_policy,
    check_rate,
    check_subgoals,
    check_vlm,
    describe,
    model_failed,
)
from soar.doctor.results import CheckResult, Failure, Timed, attempt, timed
from soar.doctor.station import TriedStation
from soar.interfaces import InstructedPolicy, VisionLanguageModel
from soar.registry import load_subgoals, load_vlm
from soar.rollout.loop import generate_subgoals, seen_by_generator
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.tasks.grammar import questions_of
from soar.tasks.success_detector import judge_episodes
from soar.types import Actions, Answer, EpisodeFrames, Image

_ACTS = 10
"""Number of timed actions of the policy, each of which may be spread over several control steps."""
_SLOW_S = 10.0
"""Duration in seconds from which a subgoal generator isn't called a second time to time it after warmup."""


def try_models(
    config: ModelsConfig, stations: Sequence[TriedStation], episode: EpisodeConfig
) -> Iterator[CheckResult]:
    """Try VLM, success detector, subgoal generator and policy, and yield the results one by one.

    Args:
        config: names of the models.
        stations: stations that work.
        episode: length and timing of the planned episodes.
    """
    vlm = attempt(lambda: load_vlm(config.vlm_name))
    yield from try_vlm(vlm, stations)
    batch = batch_of(stations)
    yield from try_detector(config, vlm, batch)
    current = attempt(config.with_promoted)
    if isinstance(current, Failure):
        yield model_failed("policy", current)
        return
    goals: Sequence[Image] | Sequence[str] = [s.rest.image for s in batch]
    if current.subgoals == "none":
        goals = [s.tasks[0].instruction for s in batch]
    else:
        result, subgoals = try_subgoals(current, batch, episode)
        yield result
        goals = subgoals or goals
    results, act_s = try_policy(current, stations, batch, goals)
    yield from results
    for station in stations:
        yield check_rate(station, act_s)


def batch_of(stations: Sequence[TriedStation]) -> Sequence[TriedStation]:
    """Return the stations that share the models' batches: those in lockstep, or one real arm."""
    if any(s.config.keeps_period for s in stations):
        return stations[:1]
    return [s for s in stations if s.rest.image.shape == stations[0].rest.image.shape]


def try_vlm(
    vlm: VisionLanguageModel | Failure, stations: Sequence[TriedStation]
) -> Iterator[CheckResult]:
    """Ask the vision-language model about each station's scene."""
    if isinstance(vlm, Failure):
        yield model_failed("VLM", vlm)
        return
    yield CheckResult("VLM", "ok", vlm.name)

    def answers(station: TriedStation) -> list[Answer]:
        [answers] = vlm.answer([station.rest.image], [questions_of(station.tasks)])
        return answers

    for station in stations:
        title = f"{station.config.name}: VLM"
        answered = attempt(lambda station=station: timed(lambda: answers(station)))  # type: ignore[misc]
        if isinstance(answered, Failure):
            yield model_failed(title, answered)
        else:
            yield check_vlm(title, station.tasks, answered)


def try_detector(
    config: ModelsConfig, vlm: VisionLanguageModel | Failure, batch: Sequence[TriedStation]
) -> Iterator[CheckResult]:
    """Load the success detector, and let it judge an episode without motion unless it judges by the VLM's answers."""
    by_vlm = config.detector == "vlm"
    if by_vlm and isinstance(vlm, Failure):
        return
    detector = attempt(lambda: config.load_detector(None if isinstance(vlm, Failure) else vlm))
    if isinstance(detector, Failure):
        yield model_failed("detector", detector)
        return
    what = f"{detector.name}, success from P = {detector.threshold:g}"
    if by_vlm or not batch:
        yield CheckResult("detector", "ok", what)
        return
    images = [np.stack([s.rest.image] * 2) for s in batch]
    episodes = [EpisodeFrames(s.tasks[0], i) for s, i in zip(batch, images, strict=True)]
    judged = attempt(lambda: timed(lambda: judge_episodes(detector, episodes)))
    if isinstance(judged, Failure):
        yield model_failed("detector", judged)
    else:
        yield check_detector(what, judged)


def try_subgoals(
    config: ModelsConfig, batch: Sequence[TriedStation], episode: EpisodeConfig
) -> tuple[CheckResult, list[Image]]:
    """Load the subgoal generator, which isn't "none", and generate a subgoal of each station's first task.

    Returns:
        The result, and the images; none if it failed.
    """
    generator = attempt(lambda: load_subgoals(config.subgoals))
    if isinstance(generator, Failure):
        return model_failed("subgoals", generator), []
    if not batch:
        return CheckResult("subgoals", "ok", generator.name), []
    observations = [seen_by_generator(s.rest, s.contract) for s in batch]
    tasks = [s.tasks[0] for s in batch]

    def generate() -> list[Image]:
        return generate_subgoals(generator, observations, tasks, np.random.default_rng(0))

    generated = attempt(lambda: timed(generate))
    if not isinstance(generated, Failure) and generated.seconds[0] < _SLOW_S:
        generated = attempt(lambda: timed(generate))
    if isinstance(generated, Failure):
        return model_failed("subgoals", generated), []
    return check_subgoals(generator.name, generated, episode, batch[0]), generated.value


def try_policy(
    config: ModelsConfig,
    stations: Sequence[TriedStation],
    batch: Sequence[TriedStation],
    goals: Sequence[Image] | Sequence[str],
) -> tuple[list[CheckResult], float]:
    """Load the policy, compare its contract with each station's, and let it act.

    Returns:
        The results, and the duration of an action in seconds; 0 if it failed.
    """
    policy = attempt(config.load_policy)
    if isinstance(policy, Failure):
        return [model_failed("policy", policy)], 0.0
    contracts = [result for s in stations for result in check_contracts(policy, s)]
    if not batch:
        return [CheckResult("policy", "ok", describe(policy)), *contracts], 0.0
    observations, rng = [s.rest for s in batch], np.random.default_rng(0)
    instructions = [g for g in goals if isinstance(g, str)]
    inputs = instructions or np.stack([g for g in goals if not isinstance(g, str)])

    def act() -> Actions:
        return policy.act(observations, inputs, rng)

    def try_policy() -> Timed[Actions]:
        policy.reset()
        if isinstance(policy, InstructedPolicy):
            policy.instruct([s.tasks[0].instruction for s in batch])
        act()
        acted = timed(act, _ACTS * config.spread)
        return replace(acted, seconds=acted.seconds[config.spread - 1 :: config.spread])

    acted = attempt(try_policy)
    if isinstance(acted, Failure):
        return [*contracts, model_failed("policy", acted)], 0.0
    return [*contracts, check_policy(policy, acted, batch)], median(acted.seconds)
