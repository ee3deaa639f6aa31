"""THE control loop: observe, propose, five times (imagine, twenty times (act, execute)), judge.

It drives one robot, or several in lockstep that share every model's batches. It stores nothing, shows
nothing and measures nothing: recording, viewing and measuring subscribe to it. With a `worker` and
`lead_steps` the slow models work while the arm moves; without, everything happens in its plain order.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from soar.clock import Metronome
from soar.detector import verdict
from soar.errors import BadOutput, CameraFault, ConfigError, SoarError
from soar.interfaces import Policy, Robot, SubgoalGenerator, TaskProposer, VisionLanguageModel
from soar.looking import Look, ask
from soar.robots.process import together
from soar.types import (
    ACTION_DIM,
    History,
    Image,
    Images,
    Observation,
    Proposal,
    Regime,
    Step,
    Subgoal,
    Task,
    Verdict,
)


@dataclass(frozen=True)
class Plan:
    """How long an episode is (paper: five subgoals, twenty steps for each, 5 Hz)."""

    subgoals: int = 5
    steps: int = 20
    """Control steps for each subgoal."""
    lead_steps: int = 0
    """A next subgoal is imagined from the picture so many steps before it is due, while the arm goes on
    towards the last one. 0: from the picture when it is due, while the arm waits."""
    homing: bool = True
    """Go home at the end, so that the next episode can begin."""

    def __post_init__(self) -> None:
        if self.subgoals < 1 or self.steps < 1 or not 0 <= self.lead_steps < self.steps:
            raise ConfigError(
                f"a plan needs subgoals and steps >= 1 and lead_steps below steps; got {self}"
            )

    @property
    def length(self) -> int:
        """Control steps of an episode."""
        return self.subgoals * self.steps


@dataclass(frozen=True)
class Models:
    """Everything that thinks, shared by all stations."""

    vlm: VisionLanguageModel
    policy: Policy
    subgoals: SubgoalGenerator | None
    """None for a policy that is driven by the words themselves (LCBC)."""
    threshold: float = 0.5
    """P(success) from which the VLM's answer is called success."""

    @property
    def checkpoint(self) -> str:
        """Id of the policy's checkpoint; its name when it comes from none."""
        return getattr(self.policy, "checkpoint_id", "") or self.policy.name


@runtime_checkable
class Simulation(Protocol):
    """What a simulated table can do beside its robot: for measuring, and as a person's hand."""

    def truth(self, instruction: str) -> bool:
        """Whether the task is done now. No component of the loop asks."""

    def reset(self, seed: int) -> None:
        """Put everything somewhere on the table."""


@dataclass(frozen=True, eq=False)
class Station:
    """A robot at its table, with the tasks that make sense there."""

    name: str
    robot: Robot
    tasks: tuple[Task, ...]
    proposer: TaskProposer
    scene: str
    regime: Regime = "real"
    seed: int = 0
    simulation: Simulation | None = None
    """The simulated table under the robot; None for a real one."""


@dataclass(frozen=True, eq=False)
class Ending:
    """How an episode ended, and all that led to it but the steps, which went to the subscribers."""

    proposal: Proposal
    before: Look
    after: Look
    """The last frame, with the answers about it: they judge this episode and propose the next."""
    verdict: Verdict
    noise: float
    fault: SoarError | None = None
    """What stopped the episode before its end; it is no episode then."""
    homing_fault: SoarError | None = None
    """What went wrong on the way home, when the episode was already whole."""


class Subscriber:
    """Sees what happens, and never changes it. Override what you care about."""

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """A task was chosen; the arm is about to move."""

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """A new picture to reach."""

    def on_step(self, station: Station, step: Step) -> None:
        """One action was executed."""

    def on_episode(self, station: Station, ending: Ending) -> None:
        """The episode is over, judged or broken off."""


class Everyone(Subscriber):
    """Many subscribers as one."""

    def __init__(self, subscribers: Sequence[Subscriber] = ()) -> None:
        self._subscribers = tuple(subscribers)

    def on_start(self, station: Station, proposal: Proposal) -> None:
        """Tell everyone."""
        for subscriber in self._subscribers:
            subscriber.on_start(station, proposal)

    def on_subgoal(self, station: Station, subgoal: Subgoal) -> None:
        """Tell everyone."""
        for subscriber in self._subscribers:
            subscriber.on_subgoal(station, subgoal)

    def on_step(self, station: Station, step: Step) -> None:
        """Tell everyone."""
        for subscriber in self._subscribers:
            subscriber.on_step(station, step)

    def on_episode(self, station: Station, ending: Ending) -> None:
        """Tell everyone."""
        for subscriber in self._subscribers:
            subscriber.on_episode(station, ending)


NOBODY = Everyone()


class Take:
    """One station's part in a running episode."""

    def __init__(self, station: Station, proposal: Proposal, before: Look) -> None:
        self.station = station
        self.proposal = proposal
        self.before = before
        self.seen: Observation = before.observation
        self.goal: Image | str = proposal.task.instruction
        self.subgoal: Subgoal | None = None
        self.fault: SoarError | None = None


def run_episodes(
    stations: Sequence[Station],
    looks: Sequence[Look],
    models: Models,
    plan: Plan,
    histories: Sequence[History],
    rng: np.random.Generator,
    *,
    noise: float = 0.0,
    subscriber: Subscriber = NOBODY,
    worker: Executor | None = None,
    metronome: Metronome | None = None,
) -> list[Ending]:
    """One episode on every station, from the looks that its last one left; each arm ends at home.

    Args:
        looks: what was last seen at each station, with the VLM's answers.
        histories: attempts and successes at each station so far, for the proposals.
        noise: scales the policy's standard deviation; 0 is its mean.
        worker: runs imagining ahead and looking; None does everything in its place.
        metronome: keeps the control period of real arms; None doesn't wait.

    Raises:
        ModelUnavailable, BadOutput: of the subgoal generator or the policy; the arms stay where they are.
    """
    propose_rng, imagine_rng, act_rng = rng.spawn(3)
    takes = [
        Take(s, s.proposer.propose(b.observation, b.answers, h, propose_rng), b)
        for s, b, h in zip(stations, looks, histories, strict=True)
    ]
    models.policy.reset()
    if metronome:
        metronome.rest()
    for take in takes:
        subscriber.on_start(take.station, take.proposal)
    coming: Future[list[Image]] | None = None
    for index in range(plan.length):
        observe(takes, metronome)
        if all(t.fault for t in takes):
            break
        if models.subgoals and index % plan.steps == 0:
            images = (
                coming.result()
                if coming
                else imagine(models.subgoals, *_wishes(takes), imagine_rng)
            )
            set_goals(takes, images, index, subscriber)
        act(takes, models.policy, act_rng, noise, index, subscriber)
        ahead = (index + plan.lead_steps) % plan.steps == 0 and plan.lead_steps > 0
        if models.subgoals and worker and ahead and index + plan.lead_steps < plan.length:
            coming = worker.submit(imagine, models.subgoals, *_wishes(takes), imagine_rng)
    observe(takes, metronome)
    endings = judge_and_home(takes, models, plan, noise, worker)
    for take, ending in zip(takes, endings, strict=True):
        subscriber.on_episode(take.station, ending)
    return endings


def observe(takes: Sequence[Take], metronome: Metronome | None) -> None:
    """Wait for the next control step and look."""
    if metronome:
        metronome.tick()
    live = [t for t in takes if t.fault is None]
    for take, seen in zip(live, together([t.station.robot for t in live], "observe"), strict=True):
        if isinstance(seen, SoarError):
            take.fault = seen
        else:
            take.seen = seen


def _wishes(takes: Sequence[Take]) -> tuple[Images, list[str]]:
    """What to imagine for every take, also for those that don't go on, so that places match."""
    instructions = [t.proposal.task.instruction for t in takes]
    return np.stack([t.seen.image for t in takes]), instructions


def imagine(
    generator: SubgoalGenerator,
    images: Images,
    instructions: Sequence[str],
    rng: np.random.Generator,
) -> list[Image]:
    """One imagined image for each. Raises BadOutput: what came back aren't so many pictures."""
    made = np.asarray(generator.generate(images, instructions, rng))
    if made.dtype != np.uint8 or made.ndim != 4 or made.shape[::3] != (len(images), 3):
        raise BadOutput(
            f"{generator.name} gave {made.dtype} {made.shape} for {len(images)} pictures"
        )
    return list(made)


def set_goals(
    takes: Sequence[Take], images: Sequence[Image], index: int, subscriber: Subscriber
) -> None:
    """From this step on the policy reaches for these pictures."""
    for take, image in zip(takes, images, strict=True):
        take.goal, take.subgoal = image, Subgoal(image, index)
        if take.fault is None:
            subscriber.on_subgoal(take.station, take.subgoal)


def act(
    takes: Sequence[Take],
    policy: Policy,
    rng: np.random.Generator,
    noise: float,
    index: int,
    subscriber: Subscriber,
) -> None:
    """One control step of every take: the policy's action, limited and executed by its robot.

    Takes that don't go on stay in the batch: what a policy remembers of each place stays with it.
    """
    goals = [t.goal for t in takes]
    words = [g for g in goals if isinstance(g, str)]
    wanted = policy.act([t.seen for t in takes], words or np.stack(goals), rng, noise=noise)
    if np.shape(wanted) != (len(takes), ACTION_DIM):
        raise BadOutput(
            f"{policy.name} gave actions of shape {np.shape(wanted)} for {len(takes)} robots"
        )
    live = [(t, a) for t, a in zip(takes, wanted, strict=True) if t.fault is None]
    done = together([t.station.robot for t, _ in live], "execute", [(a,) for _, a in live])
    for (take, asked), executed in zip(live, done, strict=True):
        if isinstance(executed, SoarError):
            take.fault = executed
            continue
        subscriber.on_step(take.station, Step(index, take.seen, asked, executed, take.subgoal))


def judge_and_home(
    takes: Sequence[Take], models: Models, plan: Plan, noise: float, worker: Executor | None
) -> list[Ending]:
    """One batched look at the last frames, answered while the arms go home."""
    whole = [t for t in takes if t.fault is None]
    seen = [(t.seen, t.station.tasks) for t in whole]
    answers = worker.submit(ask, models.vlm, seen) if worker else None
    if answers is None:
        looked = ask(models.vlm, seen)
    homed = go_home(whole) if plan.homing else {}
    looked = answers.result() if answers else looked
    after = {id(t): look for t, look in zip(whole, looked, strict=True)}
    return [_ending(t, after.get(id(t)), homed.get(id(t)), models, noise) for t in takes]


def go_home(takes: Sequence[Take]) -> dict[int, SoarError]:
    """Home all arms; what went wrong on the way, by the take's id.

    The camera must show that the hand has moved: if it doesn't, or is gone, then nobody knows since
    when, and the last frame can't be trusted with a verdict. That breaks the episode off.
    """
    robots = [t.station.robot for t in takes]
    faults = {
        id(t): h
        for t, h in zip(takes, together(robots, "home"), strict=True)
        if isinstance(h, SoarError)
    }
    for take, seen in zip(takes, together(robots, "observe"), strict=True):
        if isinstance(seen, CameraFault):
            take.fault = seen
    return faults


def _ending(
    take: Take, after: Look | None, homing: SoarError | None, models: Models, noise: float
) -> Ending:
    look = after if after and not take.fault else Look(take.seen, {})
    task = take.proposal.task
    judged = verdict(task, look.answers, models.vlm.name, models.threshold)
    return Ending(take.proposal, take.before, look, judged, noise, take.fault, homing)
