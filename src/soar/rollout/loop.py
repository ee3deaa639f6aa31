"""THE control loop: observe, propose, five times (imagine, twenty times (act, execute)), judge.

It drives one robot, or several in lockstep that share every model's batches. It stores nothing, shows
nothing and measures nothing: recording, viewing and measuring subscribe to it. With a `worker` the slow
models work while the arm moves; without, the same happens in its plain order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

import numpy as np

from soar.errors import BadOutput, CameraFault, SoarError
from soar.interfaces import Policy, SubgoalGenerator
from soar.robots.process import call_all
from soar.rollout.assessment import SceneAssessment, assess
from soar.rollout.callbacks import NO_CALLBACK, Callback, EpisodeResult
from soar.rollout.station import EpisodeConfig, Models, Station
from soar.tasks.success_detector import verdict
from soar.types import ACTION_DIM, History, Image, Noise, Observation, Proposal, Step, Subgoal
from soar.utils.clock import Metronome

P = ParamSpec("P")
T = TypeVar("T")


class InlineExecutor(Executor):
    """Does everything at once, in its place."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future that is already done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except SoarError as error:
            future.set_exception(error)
        return future


INLINE = InlineExecutor()


class EpisodeState:
    """One station's part in a running episode."""

    def __init__(
        self, station: Station, proposal: Proposal, before: SceneAssessment, noise: float = 0.0
    ) -> None:
        self.station = station
        self.noise = noise
        self.proposal = proposal
        self.before = before
        self.seen: Observation = before.observation
        self.goal: Image | str = proposal.task.instruction
        self.subgoal: Subgoal | None = None
        self.fault: SoarError | None = None
        self.homing_fault: SoarError | None = None
        self.after: SceneAssessment | None = None


def run_episodes(
    stations: Sequence[Station],
    looks: Sequence[SceneAssessment],
    models: Models,
    episode_config: EpisodeConfig,
    histories: Sequence[History],
    rng: np.random.Generator,
    *,
    noise: Noise = 0.0,
    callback: Callback = NO_CALLBACK,
    worker: Executor = INLINE,
    metronome: Metronome | None = None,
) -> list[EpisodeResult]:
    """One episode on every station, from the looks that its last one left; each arm ends at home.

    Args:
        looks: what was last seen at each station, with the VLM's answers.
        histories: attempts and successes at each station so far, for the proposals.
        noise: scales the policy's standard deviation, for all stations or for each; 0 is its mean.
        worker: runs the looking, and the imagining ahead, while the arms move.
        metronome: keeps the control period of real arms; None doesn't wait.

    Raises:
        ModelUnavailable, BadOutput: of the subgoal generator or the policy; the arms stay where they are.
    """
    propose_rng, imagine_rng, act_rng = rng.spawn(3)
    takes = [
        EpisodeState(
            s, s.proposer.propose(b.observation, b.answers, h, propose_rng), b, float(scale)
        )
        for s, b, h, scale in zip(
            stations, looks, histories, np.broadcast_to(noise, len(stations)), strict=True
        )
    ]
    models.policy.reset()
    if metronome:
        metronome.rest()
    for take in takes:
        callback.on_start(take.station, take.proposal)
    coming: Future[list[Image]] | None = None
    for index in range(episode_config.length):
        observe(takes, metronome)
        if all(t.fault for t in takes):
            break
        if models.subgoals and index % episode_config.steps_per_subgoal == 0:
            images = (
                coming.result()
                if coming
                else generate_subgoals(models.subgoals, *_wishes(takes), imagine_rng)
            )
            set_goals(takes, images, index, callback)
        act(takes, models.policy, act_rng, index, callback)
        ahead = (
            index + episode_config.prefetch_steps
        ) % episode_config.steps_per_subgoal == 0 and episode_config.prefetch_steps > 0
        if (
            models.subgoals
            and ahead
            and index + episode_config.prefetch_steps < episode_config.length
        ):
            coming = worker.submit(generate_subgoals, models.subgoals, *_wishes(takes), imagine_rng)
    observe(takes, metronome)
    results = judge_and_home(takes, models, episode_config, worker)
    for take, result in zip(takes, results, strict=True):
        callback.on_episode(take.station, result)
    return results


def observe(takes: Sequence[EpisodeState], metronome: Metronome | None) -> None:
    """Wait for the next control step and look."""
    if metronome:
        metronome.tick()
    live = [t for t in takes if t.fault is None]
    for take, seen in zip(live, call_all([t.station.robot for t in live], "observe"), strict=True):
        if isinstance(seen, SoarError):
            take.fault = seen
        else:
            take.seen = seen


def _wishes(takes: Sequence[EpisodeState]) -> tuple[list[Observation], list[str]]:
    """What to imagine for every take, also for those that don't go on, so that places match."""
    return [t.seen for t in takes], [t.proposal.task.instruction for t in takes]


def generate_subgoals(
    generator: SubgoalGenerator,
    observations: Sequence[Observation],
    instructions: Sequence[str],
    rng: np.random.Generator,
) -> list[Image]:
    """One imagined image for each. Raises BadOutput: what came back aren't so many pictures."""
    made = np.asarray(generator.generate(observations, instructions, rng))
    if made.dtype != np.uint8 or made.ndim != 4 or made.shape[::3] != (len(observations), 3):
        raise BadOutput(
            f"{generator.name} gave {made.dtype} {made.shape} for {len(observations)} pictures"
        )
    return list(made)


def set_goals(
    takes: Sequence[EpisodeState], images: Sequence[Image], index: int, callback: Callback
) -> None:
    """From this step on the policy reaches for these pictures."""
    for take, image in zip(takes, images, strict=True):
        take.goal, take.subgoal = image, Subgoal(image, index)
        if take.fault is None:
            callback.on_subgoal(take.station, take.subgoal)


def act(
    takes: Sequence[EpisodeState],
    policy: Policy,
    rng: np.random.Generator,
    index: int,
    callback: Callback,
) -> None:
    """One control step of every take: the policy's action, limited and executed by its robot.

    Takes that don't go on stay in the batch: what a policy remembers of each place stays with it.
    """
    goals = [t.goal for t in takes]
    words = [g for g in goals if isinstance(g, str)]
    noise = np.array([t.noise for t in takes])
    wanted = policy.act([t.seen for t in takes], words or np.stack(goals), rng, noise=noise)
    if np.shape(wanted) != (len(takes), ACTION_DIM):
        raise BadOutput(
            f"{policy.name} gave actions of shape {np.shape(wanted)} for {len(takes)} robots"
        )
    live = [(t, a) for t, a in zip(takes, wanted, strict=True) if t.fault is None]
    done = call_all([t.station.robot for t, _ in live], "execute", [(a,) for _, a in live])
    for (take, asked), executed in zip(live, done, strict=True):
        if isinstance(executed, SoarError):
            take.fault = executed
            continue
        callback.on_step(take.station, Step(index, take.seen, asked, executed, take.subgoal))


def judge_and_home(
    takes: Sequence[EpisodeState], models: Models, episode_config: EpisodeConfig, worker: Executor
) -> list[EpisodeResult]:
    """One batched look at the last frames, answered while the arms go home."""
    whole = [t for t in takes if t.fault is None]
    looks = worker.submit(assess, models.vlm, [(t.seen, t.station.tasks) for t in whole])
    if episode_config.home_at_end:
        go_home(whole)
    for take, look in zip(whole, looks.result(), strict=True):
        take.after = look
    return [_result(take, models) for take in takes]


def go_home(takes: Sequence[EpisodeState]) -> None:
    """Home all arms, and see that they did.

    The camera must show that the hand has moved: if it doesn't, or is gone, then nobody knows since
    when, and the last frame can't be trusted with a verdict. That breaks the episode off.
    """
    robots = [t.station.robot for t in takes]
    for take, homed in zip(takes, call_all(robots, "home"), strict=True):
        take.homing_fault = homed if isinstance(homed, SoarError) else None
    for take, seen in zip(takes, call_all(robots, "observe"), strict=True):
        if isinstance(seen, CameraFault):
            take.fault = seen


def _result(take: EpisodeState, models: Models) -> EpisodeResult:
    look = take.after if take.after and not take.fault else SceneAssessment(take.seen, {})
    judged = verdict(
        take.proposal.task,
        look.answers,
        models.vlm.name,
        models.threshold,
        take.before.answers,
    )
    return EpisodeResult(
        take.proposal,
        take.before,
        look,
        judged,
        take.noise,
        take.fault,
        take.homing_fault,
    )
