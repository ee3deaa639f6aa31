"""A replica of a model, with a queue that gathers the requests of all stations into batches.

Every request names the model that it wants, so that a promotion reaches each station between its own episodes and never
in the middle of one: the replica keeps the promoted model and the one before.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from soar.contract.compare import contract_of, takes_state
from soar.contract.contract import Contract
from soar.errors import ConfigError, SoarError
from soar.fleet.config import Role
from soar.interfaces import Policy, SubgoalGenerator, VisionLanguageModel
from soar.policies.chunks import ChunkBroker
from soar.registry import load_policy, load_subgoals, load_vlm
from soar.serving.batching import Batcher, RunBatch
from soar.serving.follower import ActRequest, Follower, Session, in_groups
from soar.types import Action, Image, Observation, Question, Task

_MOST_MODELS = 2
"""Models that a replica keeps: the promoted one, and the one that stations use until their episode ends."""


class VLMRequest(NamedTuple):
    """Questions about one image."""

    image: Image
    questions: Sequence[Question]


class SubgoalRequest(NamedTuple):
    """A request for one subgoal image."""

    observation: Observation
    task: Task


class PolicyRequest(NamedTuple):
    """A request for one robot's next actions."""

    observation: Observation
    goal: Image | str
    instruction: str
    noise: float
    last: Action | None
    """The action that was executed last; None before the first one."""


class ModelFacts(NamedTuple):
    """What stations need to know of a model."""

    name: str
    checkpoint_id: str = ""
    contract: Contract | None = None
    takes_state: bool = True
    horizon: int = 1
    """Actions that a policy gives at once."""


class ModelServer:
    """The models of one role. All methods run in one event loop; each model runs in a thread of its own."""

    def __init__(self, role: Role, largest_batch: int = 64) -> None:
        """Begin without a model: each is loaded at the first request that names it."""
        self.role, self._largest_batch = role, largest_batch
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._loading = asyncio.Lock()
        self._batches = self._requests = 0

    async def facts(self, name: str) -> ModelFacts | SoarError:
        """Load a model if need be, and describe it; an error is returned, not raised."""
        try:
            return (await self._model(name)).facts
        except SoarError as error:
            return error

    async def answer(self, name: str, requests: Sequence[Any]) -> list[Any] | SoarError:
        """Answer one station's requests, which stay in one batch; an error is returned, not raised."""
        try:
            loaded = await self._model(name)
            return await loaded.batcher.submit(requests)
        except SoarError as error:
            return error

    async def counts(self) -> tuple[int, int]:
        """Return the numbers of batches and of requests so far."""
        loaded = [m.batcher for m in self._loaded.values()]
        batches = self._batches + sum(b.batches for b in loaded)
        return batches, self._requests + sum(b.requests for b in loaded)

    async def report(self) -> str:
        """Return its machine, its models, and the mean size of its batches."""
        batches, requests = await self.counts()
        names = ", ".join(m.facts.name for m in self._loaded.values()) or "no model yet"
        size = (
            f"{requests} requests, {requests / batches:.1f} in a batch"
            if batches
            else "no request yet"
        )
        return f"on {socket.gethostname()}: {names}; {size}"

    async def _model(self, name: str) -> _Loaded:
        """Return a model, loaded now if it wasn't; the others answer meanwhile. Raises ConfigError, CheckpointError."""
        if name not in self._loaded:
            async with self._loading:
                if name not in self._loaded:  # else another request has loaded it
                    await self._load(name)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    async def _load(self, name: str) -> None:
        """Load a model, in place of the one that wasn't used for the longest time if there are too many."""
        loop = asyncio.get_running_loop()
        facts, run = await loop.run_in_executor(None, _LOADERS[self.role], name)
        self._loaded[name] = _Loaded(facts, Batcher(run, 0.0, self._largest_batch))
        while len(self._loaded) > _MOST_MODELS:
            _, old = self._loaded.popitem(last=False)
            self._batches += old.batcher.batches
            self._requests += old.batcher.requests
            old.batcher.close()


class _Loaded(NamedTuple):
    facts: ModelFacts
    batcher: Batcher[Any, Any]


def _vlm(name: str) -> tuple[ModelFacts, RunBatch[VLMRequest, Any]]:
    return vlm_batches(load_vlm(name))


def _subgoals(name: str) -> tuple[ModelFacts, RunBatch[SubgoalRequest, Any]]:
    return subgoal_batches(load_subgoals(name))


def _policy(name: str) -> tuple[ModelFacts, RunBatch[PolicyRequest, Any]]:
    return policy_batches(load_policy(name))


_LOADERS: dict[Role, Callable[[str], tuple[ModelFacts, RunBatch[Any, Any]]]] = {
    "vlm": _vlm,
    "subgoals": _subgoals,
    "policy": _policy,
}


def vlm_batches(vlm: VisionLanguageModel) -> tuple[ModelFacts, RunBatch[VLMRequest, Any]]:
    """Return a VLM's facts, and what answers a batch of its requests."""
    return ModelFacts(vlm.name), lambda requests: vlm.answer(
        [r.image for r in requests], [r.questions for r in requests]
    )


def subgoal_batches(
    generator: SubgoalGenerator,
) -> tuple[ModelFacts, RunBatch[SubgoalRequest, Any]]:
    """Return a generator's facts, and what answers a batch of its requests, with images of one size at a time."""
    rng = np.random.default_rng()

    def generate(requests: Sequence[SubgoalRequest]) -> list[Any]:
        images = generator.generate(
            [r.observation for r in requests], [r.task for r in requests], rng
        )
        return list(np.asarray(images))

    def run(requests: Sequence[SubgoalRequest]) -> list[Any]:
        everyone = range(len(requests))
        done = in_groups(everyone, requests, lambda _, r: r.observation.image.shape, generate)
        return [done[i] for i in everyone]

    return ModelFacts(generator.name), run


def policy_batches(policy: Policy) -> tuple[ModelFacts, RunBatch[PolicyRequest, Any]]:
    """Return a policy's facts, and what answers a batch of its requests.

    Raises:
        ConfigError: the policy's state doesn't follow from the last action, so that stations can't share it.
    """
    follower = Follower(policy, None, 1, seed=int(np.random.SeedSequence().generate_state(1)[0]))
    averaged = isinstance(policy, ChunkBroker) and policy.ensemble
    if averaged or not follower.is_shared:
        why = "averages its chunks" if averaged else "has no `commit` to set its state"
        raise ConfigError(
            f"policy {policy.name} {why}, so that stations can't share it; valid: `policy: {{count: 0}}` in the fleet "
            "file's `replicas`, which loads it in each station's process"
        )
    inner = follower.policy

    def run(requests: Sequence[PolicyRequest]) -> list[Any]:
        replies = follower.run([_act_request(i, r) for i, r in enumerate(requests)])
        return [r if isinstance(r, SoarError) else r.actions for r in replies]

    facts = ModelFacts(
        policy.name,
        str(getattr(policy, "checkpoint_id", "")),
        contract_of(inner),
        takes_state(inner),
        follower.horizon,
    )
    return facts, run


def _act_request(index: int, request: PolicyRequest) -> ActRequest:
    """Return a request in a session of its own: it brings what a session would remember."""
    goal = request.goal
    words = goal if isinstance(goal, str) else request.instruction
    image = None if isinstance(goal, str) else goal
    return ActRequest(
        Session(index), request.observation, words, image, noise=request.noise, last=request.last
    )
