"""A policy and a subgoal generator, served together as one policy that follows instructions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
from jaxtyping import Float

from soar.contract.compare import contract_of
from soar.contract.contract import WIDOWX
from soar.errors import BadOutput, ConfigError, SoarError
from soar.interfaces import InstructedPolicy, Policy, SubgoalGenerator
from soar.policies.chunks import ChunkBroker, ChunkPolicy
from soar.rollout.checked_models import CheckedCalls
from soar.tasks.grammar import parse_instruction
from soar.types import Action, Actions, Image, Images, Noise, Observation

T = TypeVar("T")
R = TypeVar("R")

STATE_KEYS = ("observation/state", "observation.state", "state", "states", "proprio")
"""Keys of the state in a request."""


@runtime_checkable
class SharedPolicy(Policy, Protocol):
    """A policy whose state of an episode follows from the actions that were executed, so that clients can share it."""

    def commit(self, actions: Actions) -> None:
        """Take over the last action of each robot of the next batch; an open gripper before the first one."""


@dataclass(eq=False)
class Session:
    """One robot of a client, from its first observation to its last one."""

    number: int
    seed: int | None = None
    """Seed of its random numbers; None shares the server's."""
    instruction: str | None = None
    subgoal: Image | None = None
    steps: int = 0
    """Actions since the subgoal was generated."""
    last: Action | None = None
    """The last action; None before the first one."""
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    begins: bool = True
    """Whether the client's next request begins an episode; of the event loop, all else is of the model's thread."""

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode."""
        self.instruction, self.subgoal, self.steps, self.last = None, None, 0, None
        self.seed = seed
        if seed is not None:
            self.rng = np.random.default_rng(seed)


class ActRequest(NamedTuple):
    """A request for an action."""

    session: Session
    observation: Observation
    instruction: str = ""
    goal: Image | None = None
    """The client's own goal image; None follows the instruction."""
    seed: int | None = None
    """Seed of an episode that begins with this request; with it, its random numbers repeat."""
    noise: float = 0.0
    """Scale of the policy's standard deviation."""
    reset: bool = False
    """Whether an episode begins."""
    last: Action | None = None
    """Action that was executed last, where it isn't the last one of the session."""
    most: int | None = None
    """Actions that are executed before the next request; None for all that the policy gives at once."""


class ActReply(NamedTuple):
    """The next actions, and the subgoal that they pursue, if there is one."""

    actions: Actions
    subgoal: Image | None


class Follower:
    """An instruction follower for many sessions.

    A subgoal is generated for an instruction that is new to its session, and again every `steps_per_subgoal` actions.
    A request that brings its own goal image needs none, and a policy that follows instructions gets them as they are.
    """

    def __init__(
        self,
        policy: Policy,
        subgoals: SubgoalGenerator | None,
        steps_per_subgoal: int,
        seed: int = 0,
    ) -> None:
        self.horizon = 1
        """Actions that it gives at once."""
        if isinstance(policy, ChunkBroker):  # the clients execute the chunks
            self.horizon, policy = policy.executed, cast(Policy, policy.policy)
        self.policy, self.subgoals, self.steps_per_subgoal = policy, subgoals, steps_per_subgoal
        self.contract = contract_of(policy) or WIDOWX
        self.forward_passes = 0
        """Batches that the policy has answered."""
        self._rng = np.random.default_rng(seed)

    @property
    def is_shared(self) -> bool:
        """Whether several sessions can take turns with the policy."""
        return isinstance(self.policy, SharedPolicy)

    def warm_up(self) -> None:
        """Answer one request, so that the first client needn't wait. Raises SoarError: the models don't work."""
        image = np.full((256, 256, 3), 127, np.uint8)
        state = np.zeros(self.contract.state.dim, np.float32)
        others = dict.fromkeys(self.contract.camera_names[1:], image)
        seen = Observation(image, state, 0.0, others)
        tried = [ActRequest(Session(0), seen, "move the block to the left side")]
        if self.subgoals is None:
            tried.insert(0, tried[0]._replace(session=Session(0), goal=image))
        calls = CheckedCalls("policy", self.policy)
        replies = [r for request in tried for r in calls.call("act", partial(self.run, [request]))]
        errors = [reply for reply in replies if isinstance(reply, SoarError)]
        if len(errors) == len(replies):
            raise errors[-1]
        self.policy.reset()
        self.forward_passes = 0

    def run(self, requests: Sequence[ActRequest]) -> list[ActReply | SoarError]:
        """Answer a batch of requests of different sessions; one that can't be answered gets an error."""
        for request in requests:
            self._begin(request)
        due = [i for i, request in enumerate(requests) if self._needs_subgoal(request)]
        generated = in_groups(due, requests, _subgoal_key, self._generate)
        failed = {i: e for i, e in generated.items() if isinstance(e, SoarError)}
        ready = [i for i in range(len(requests)) if i not in failed]
        acted = in_groups(ready, requests, _act_key, self._act)
        return [_finish(request, failed.get(i) or acted[i]) for i, request in enumerate(requests)]

    def _begin(self, request: ActRequest) -> None:
        session = request.session
        if request.reset:
            session.reset(request.seed)
            if not self.is_shared:
                self.policy.reset()
        elif request.seed is not None and request.seed != session.seed:
            session.seed, session.rng = request.seed, np.random.default_rng(request.seed)
        if request.last is not None:
            session.last = request.last
        if request.instruction != session.instruction:
            session.instruction, session.subgoal = request.instruction, None

    def _needs_subgoal(self, request: ActRequest) -> bool:
        session = request.session
        used_up = session.subgoal is None or session.steps >= self.steps_per_subgoal
        return self.subgoals is not None and request.goal is None and used_up

    def _generate(self, requests: Sequence[ActRequest]) -> list[None]:
        """Give each session its next subgoal."""
        assert self.subgoals is not None
        tasks = [parse_instruction(r.instruction) for r in requests]
        rng = self._rng_of(requests)
        images = self.subgoals.generate([r.observation for r in requests], tasks, rng)
        for request, image in zip(requests, images, strict=True):
            request.session.subgoal, request.session.steps = image, 0
        return [None] * len(requests)

    def _act(self, requests: Sequence[ActRequest]) -> list[Actions | SoarError]:
        """Return the next actions of each session."""
        goals = [_goal(r) for r in requests]
        words = [goal for goal in goals if isinstance(goal, str)]
        if isinstance(self.policy, SharedPolicy):
            self.policy.commit(np.stack([self._last(r.session) for r in requests]))
        if isinstance(self.policy, InstructedPolicy):
            self.policy.instruct([r.instruction for r in requests])
        self.forward_passes += 1
        chunks = self._predict(
            [r.observation for r in requests],
            words or np.stack(goals),
            self._rng_of(requests),
            np.array([r.noise for r in requests]),
        )
        wanted = (len(requests), self.horizon, self.contract.action.dim)
        if chunks.shape != wanted:
            raise BadOutput(
                f"{self.policy.name} gave actions of shape {chunks.shape}, not {wanted}"
            )
        rows = zip(requests, chunks.astype(np.float32), strict=True)
        return [row if np.isfinite(row).all() else self._not_finite(r) for r, row in rows]

    def _predict(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        noise: Noise,
    ) -> Float[np.ndarray, "n h d"]:
        if isinstance(self.policy, ChunkPolicy):
            chunks = np.asarray(self.policy.chunk(observations, goals, rng, noise=noise))
            return chunks[:, : self.horizon]
        return np.asarray(self.policy.act(observations, goals, rng, noise=noise))[:, None]

    def _not_finite(self, request: ActRequest) -> SoarError:
        """The reason why an action isn't finite."""
        if np.isnan(request.observation.state).any():
            return ConfigError(
                f"policy {self.policy.name} needs the state; valid keys: {', '.join(STATE_KEYS)}"
            )
        return BadOutput(f"{self.policy.name} gave an action that isn't finite")

    def _last(self, session: Session) -> Action:
        """The session's last action; before the first one no motion and an open gripper."""
        if session.last is not None:
            return session.last
        meaning = self.contract.action
        fresh = np.zeros(meaning.dim, np.float32)
        if meaning.gripper is not None:
            fresh[meaning.gripper_index] = meaning.gripper.open
        return fresh

    def _rng_of(self, requests: Sequence[ActRequest]) -> np.random.Generator:
        """The random numbers of a group: a seeded session's own, where it is alone in it."""
        first = requests[0].session
        return first.rng if len(requests) == 1 and first.seed is not None else self._rng


def _subgoal_key(index: int, request: ActRequest) -> Hashable:
    """Requests with the same key are one batch of the subgoal generator; a seeded one is alone."""
    alone = index if request.session.seed is not None else None
    return request.observation.image.shape, alone


def _act_key(index: int, request: ActRequest) -> Hashable:
    """Requests with the same key are one batch of the policy; a seeded one with noise is alone."""
    alone = index if request.noise and request.session.seed is not None else None
    goal = _goal(request)
    return request.observation.image.shape, None if isinstance(goal, str) else goal.shape, alone


def _goal(request: ActRequest) -> Image | str:
    found = request.session.subgoal if request.goal is None else request.goal
    return request.instruction if found is None else found


def in_groups(
    indices: Sequence[int],
    requests: Sequence[R],
    key: Callable[[int, R], Hashable],
    call: Callable[[Sequence[R]], Sequence[T | SoarError]],
) -> dict[int, T | SoarError]:
    """Call a function with each group of requests of one key; return the results, or the group's error, by index."""
    groups: dict[Hashable, list[int]] = {}
    for i in indices:
        groups.setdefault(key(i, requests[i]), []).append(i)
    results: dict[int, T | SoarError] = {}
    for group in groups.values():
        found: Sequence[T | SoarError]
        try:
            found = call([requests[i] for i in group])
        except SoarError as error:
            found = [error] * len(group)
        results.update(zip(group, found, strict=True))
    return results


def _finish(request: ActRequest, result: Actions | SoarError) -> ActReply | SoarError:
    if isinstance(result, SoarError):
        return result
    session, actions = request.session, result[: request.most]
    session.last = actions[-1]
    session.steps += len(actions)
    return ActReply(actions, session.subgoal if request.goal is None else request.goal)
