"""The control loop: observe, propose a task, generate each subgoal and act toward it, judge (paper, 3).

It drives one robot, or several in lockstep that share each model's batches. Callbacks record and show. With a `worker`
the slow models run while the arm moves; without one the same calls run in order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import ParamSpec, TypeVar

import numpy as np

from soar.contract.contract import WIDOWX, Contract
from soar.errors import BadOutput, CameraFault, ModelUnavailable, SoarError
from soar.interfaces import AnySuccessDetector, InstructedPolicy, Policy, SubgoalGenerator
from soar.robots.process import call_all
from soar.rollout.assessment import SceneAssessment, assess
from soar.rollout.callbacks import NO_CALLBACK, Callback, EpisodeResult
from soar.rollout.contracts import robot_contract
from soar.rollout.model_outputs import to_actions, to_images
from soar.rollout.models import Models
from soar.rollout.station import EpisodeConfig, Station
from soar.rollout.takeover import TakenAction
from soar.tasks.success_detector import judge_episodes, needs_all_frames, to_verdict
from soar.types import (
    STATE_DIM,
    Action,
    EpisodeFrames,
    History,
    Image,
    Noise,
    Observation,
    Proposal,
    Step,
    Subgoal,
    Task,
    Verdict,
)
from soar.utils.clock import Metronome

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class InlineExecutor(Executor):
    """An executor that runs each call at once, in the calling thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Return a finished future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except SoarError as error:
            future.set_exception(error)
        return future


INLINE = InlineExecutor()


class EpisodeState:
    """State of one station's running episode."""

    def __init__(
        self,
        station: Station,
        proposal: Proposal,
        before: SceneAssessment,
        noise: float = 0.0,
        keep_frames: bool = False,
    ) -> None:
        """Begin an episode. `keep_frames`: whether all frames are kept for the detector, not only the first."""
        self.station = station
        self.noise = noise
        self.proposal = proposal
        asked = {a.question: a for a in proposal.asked}
        self.before = replace(before, answers={**before.answers, **asked}) if asked else before
        self.observation = before.observation
        self.frames: list[Image] = []
        self.goal: Image | str = proposal.task.instruction
        self.subgoal: Subgoal | None = None
        self.fault: SoarError | None = None
        self.homing_fault: SoarError | None = None
        self.judged: tuple[SceneAssessment, Verdict] | None = None
        self._keep_frames = keep_frames

    def observe(self, observation: Observation) -> None:
        """Take over a new observation."""
        self.observation = observation
        if self._keep_frames or not self.frames:
            self.frames.append(observation.image)

    def result(self, detector: AnySuccessDetector) -> EpisodeResult:
        """Return the result; with a fault the outcome is unknown."""
        if self.judged is None or self.fault is not None:
            after = SceneAssessment(self.observation, {})
            verdict = to_verdict(self.proposal.task, None, detector.name, detector.threshold)
        else:
            after, verdict = self.judged
        return EpisodeResult(
            self.proposal, self.before, after, verdict, self.noise, self.fault, self.homing_fault
        )


def run_episodes(
    stations: Sequence[Station],
    assessments: Sequence[SceneAssessment],
    models: Models,
    config: EpisodeConfig,
    histories: Sequence[History],
    rng: np.random.Generator,
    *,
    noise: Noise = 0.0,
    callback: Callback = NO_CALLBACK,
    worker: Executor = INLINE,
    metronome: Metronome | None = None,
) -> list[EpisodeResult]:
    """Run one episode on every station.

    Args:
        stations: the stations, with their arms at home.
        assessments: each station's current scene: the assessment of its last frame before homing.
        models: the models.
        config: length and timing.
        histories: attempts and successes at each station so far, for the proposals.
        rng: random number generator.
        noise: scale of the policy's standard deviation, for all stations or for each; 0 takes its mean.
        callback: called back at each event.
        worker: runs the assessment, and subgoals generated ahead, while the arms move.
        metronome: keeps the control period of real arms; None runs without pauses.

    Returns:
        The results, with the assessments of the last frames for the next episodes.

    Raises:
        ModelUnavailable, BadOutput: a model failed in the middle of the episode; the arms stay where they are.
    """
    propose_rng, subgoal_rng, act_rng = rng.spawn(3)
    scales = np.broadcast_to(noise, len(stations))
    all_frames = needs_all_frames(models.detector)
    states = [
        _propose(*each, propose_rng, all_frames)
        for each in zip(stations, assessments, histories, scales.tolist(), strict=True)
    ]
    models.policy.reset()
    if isinstance(models.policy, InstructedPolicy):
        models.policy.instruct([s.proposal.task.instruction for s in states])
    if metronome:
        metronome.reset()
    for state in states:
        if state.station.takeover:
            state.station.takeover.start(state.proposal.task.instruction)
        callback.on_start(state.station, state.proposal)
    _run_steps(states, models, config, (subgoal_rng, act_rng), callback, worker, metronome)
    results = judge_and_home(states, models, config, worker)
    for state, result in zip(states, results, strict=True):
        callback.on_episode(state.station, result)
    return results


def _propose(
    station: Station,
    before: SceneAssessment,
    history: History,
    noise: float,
    rng: np.random.Generator,
    keep_frames: bool,
) -> EpisodeState:
    """Propose a station's task, and return the episode that begins with it."""
    proposal = station.proposer.propose(before.observation, before.answers, history, rng)
    return EpisodeState(station, proposal, before, noise, keep_frames)


def _run_steps(
    states: Sequence[EpisodeState],
    models: Models,
    config: EpisodeConfig,
    rngs: tuple[np.random.Generator, np.random.Generator],
    callback: Callback,
    worker: Executor,
    metronome: Metronome | None,
) -> None:
    """Run all control steps, and observe once more. `rngs`: of the subgoals and of the actions."""
    subgoal_rng, act_rng = rngs
    prefetched: Future[list[Image]] | None = None
    steps, ahead = config.steps_per_subgoal, config.prefetch_steps
    for index in range(config.length):
        observe(states, metronome)
        if all(s.fault for s in states):
            break
        if models.subgoals and index % steps == 0:
            images = (
                prefetched.result()
                if prefetched
                else generate_subgoals(models.subgoals, *_subgoal_inputs(states), subgoal_rng)
            )
            set_goals(states, images, index, callback)
        act(states, models.policy, act_rng, index, callback)
        is_due = ahead > 0 and (index + ahead) % steps == 0
        if models.subgoals and is_due and index + ahead < config.length:
            prefetched = worker.submit(
                generate_subgoals, models.subgoals, *_subgoal_inputs(states), subgoal_rng
            )
    observe(states, metronome)


def observe(states: Sequence[EpisodeState], metronome: Metronome | None) -> None:
    """Wait for the next control step and observe all stations."""
    if metronome:
        metronome.tick()
    live = [s for s in states if s.fault is None]
    observed = call_all([s.station.robot for s in live], "observe")
    for state, observation in zip(live, observed, strict=True):
        if isinstance(observation, SoarError):
            state.fault = observation
        else:
            state.observe(observation)


def _subgoal_inputs(states: Sequence[EpisodeState]) -> tuple[list[Observation], list[Task]]:
    """Observations and tasks of all episodes, broken off or not, so that each keeps its place in the batch."""
    observations = [
        seen_by_generator(s.observation, robot_contract(s.station.robot)) for s in states
    ]
    return observations, [s.proposal.task for s in states]


def seen_by_generator(observation: Observation, contract: Contract) -> Observation:
    """Return what a subgoal generator gets: it knows the WidowX's states alone, and of another arm only the image."""
    if contract.state == WIDOWX.state:
        return observation
    return replace(observation, state=np.full(STATE_DIM, np.nan, np.float32))


def generate_subgoals(
    generator: SubgoalGenerator,
    observations: Sequence[Observation],
    tasks: Sequence[Task],
    rng: np.random.Generator,
) -> list[Image]:
    """Return one subgoal image for each observation. Raises BadOutput: the generator returned something else."""
    images = generator.generate(observations, tasks, rng)
    return list(to_images(images, len(observations), generator.name))


def set_goals(
    states: Sequence[EpisodeState], images: Sequence[Image], index: int, callback: Callback
) -> None:
    """Give every episode its next subgoal, from control step `index` on."""
    for state, image in zip(states, images, strict=True):
        state.goal, state.subgoal = image, Subgoal(image, index)
        if state.fault is None:
            callback.on_subgoal(state.station, state.subgoal)


def act(
    states: Sequence[EpisodeState],
    policy: Policy,
    rng: np.random.Generator,
    index: int,
    callback: Callback,
) -> None:
    """Let the policy act for one control step of every episode.

    Episodes that were broken off stay in the batch, so that a policy with a state for each place keeps it.

    Raises:
        BadOutput: the policy didn't return one action for each episode.
    """
    goals = [s.goal for s in states]
    instructions = [g for g in goals if isinstance(g, str)]
    noise = np.array([s.noise for s in states])
    observations = [s.observation for s in states]
    acted = policy.act(observations, instructions or np.stack(goals), rng, noise=noise)
    width = robot_contract(states[0].station.robot).action.dim
    actions = to_actions(acted, len(states), policy.name, width)
    live = [
        (s, *_chosen(s, index, a)) for s, a in zip(states, actions, strict=True) if s.fault is None
    ]
    done = call_all([s.station.robot for s, *_ in live], "execute", [(a,) for _, a, _ in live])
    for (state, commanded, actor), executed in zip(live, done, strict=True):
        if isinstance(executed, SoarError):
            state.fault = executed
            continue
        step = Step(index, state.observation, commanded, executed, state.subgoal, actor)
        callback.on_step(state.station, step)


def _chosen(state: EpisodeState, index: int, action: Action) -> TakenAction:
    """Return the policy's action, or that of a person who has taken over."""
    takeover = state.station.takeover
    taken = takeover.act(index, state.observation, action) if takeover else None
    return taken or TakenAction(action, "policy")


def judge_and_home(
    states: Sequence[EpisodeState], models: Models, config: EpisodeConfig, worker: Executor
) -> list[EpisodeResult]:
    """Assess and judge the complete episodes while the arms go home."""
    complete = [s for s in states if s.fault is None]
    judged = worker.submit(_assess_and_judge, complete, models)
    if config.home_at_end:
        go_home(complete)
    for state, (after, verdict) in zip(complete, judged.result(), strict=True):
        state.judged = after, verdict
    return [state.result(models.detector) for state in states]


def _assess_and_judge(
    states: Sequence[EpisodeState], models: Models
) -> list[tuple[SceneAssessment, Verdict]]:
    """Assess the last frames in one request; the detector gets the answers. Without it, verdicts are unknown.

    A task that the proposer asked about itself is asked about again, as it may not be one of the station's.
    """
    tasks = [(*s.station.tasks, *([s.proposal.task] if s.proposal.asked else ())) for s in states]
    assessments = assess(
        models.vlm, [(s.observation, t) for s, t in zip(states, tasks, strict=True)]
    )
    detector = models.detector
    episodes = [
        EpisodeFrames(
            s.proposal.task,
            np.stack(
                s.frames if needs_all_frames(detector) else [s.frames[0], a.observation.image]
            ),
            s.before.answers,
            a.answers,
        )
        for s, a in zip(states, assessments, strict=True)
    ]
    try:
        verdicts = judge_episodes(detector, episodes) if episodes else []
    except (ModelUnavailable, BadOutput) as error:
        log.warning("not judged: %s", error)
        verdicts = [to_verdict(e.task, None, detector.name, detector.threshold) for e in episodes]
    return list(zip(assessments, verdicts, strict=True))


def go_home(states: Sequence[EpisodeState]) -> None:
    """Home all arms, and observe the scene once more.

    A camera fault here breaks the episode off: the image may have been frozen for an unknown time, so the last frame
    can't be judged.
    """
    robots = [s.station.robot for s in states]
    for state, homed in zip(states, call_all(robots, "home"), strict=True):
        state.homing_fault = homed if isinstance(homed, SoarError) else None
    for state, observation in zip(states, call_all(robots, "observe"), strict=True):
        if isinstance(observation, CameraFault):
            state.fault = observation
