"""Models that replicas elsewhere answer for, in a station's process: the same protocols as those of a loaded model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from soar.fleet.config import Role
from soar.fleet.model_server import ModelFacts, PolicyRequest, SubgoalRequest, VLMRequest
from soar.interfaces import Policy, SubgoalGenerator, VisionLanguageModel
from soar.policies.chunks import ChunkBroker
from soar.policies.spread import spread_policy
from soar.rollout.models import ModelsConfig
from soar.types import Action, Actions, Answer, Image, Images, Noise, Observation, Question, Task


@runtime_checkable
class Replicated(Protocol):
    """Replicas of the models of one role, as one station calls them."""

    def facts(self, name: str) -> ModelFacts:
        """Return the facts of a model, which is loaded if need be. Raises SoarError."""

    def answer(self, name: str, requests: Sequence[Any]) -> list[Any]:
        """Return the replies to requests of a model. Raises SoarError."""


class ServedVLM:
    """A vision-language model of replicas."""

    def __init__(self, source: str, replicas: Replicated) -> None:
        self._source, self._replicas = source, replicas
        self.name = replicas.facts(source).name

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return the model's answers. Raises ModelUnavailable."""
        asked = [VLMRequest(i, list(q)) for i, q in zip(images, questions, strict=True)]
        return self._replicas.answer(self._source, asked) if asked else []


class ServedSubgoals:
    """A subgoal generator of replicas, which use random numbers of their own."""

    def __init__(self, source: str, replicas: Replicated) -> None:
        self._source, self._replicas = source, replicas
        self.name = replicas.facts(source).name

    def generate(
        self, observations: Sequence[Observation], tasks: Sequence[Task], rng: np.random.Generator
    ) -> Images:
        """Return the generator's images. Raises ModelUnavailable."""
        wanted = [SubgoalRequest(o, t) for o, t in zip(observations, tasks, strict=True)]
        return np.stack(self._replicas.answer(self._source, wanted))


class ServedPolicy:
    """A policy of replicas, which use random numbers of their own; its state of an episode stays here.

    A `ChunkBroker` executes its chunks.
    """

    def __init__(self, source: str, facts: ModelFacts, replicas: Replicated) -> None:
        self._source, self._replicas = source, replicas
        self.name, self.checkpoint_id = facts.name, facts.checkpoint_id
        self.contract, self.takes_state = facts.contract, facts.takes_state
        self._instructions: Sequence[str] = ()
        self._last: Sequence[Action] = ()

    def chunk(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Float32[np.ndarray, "n h a"]:
        """Return the next actions of each robot. Raises ModelUnavailable."""
        count = len(observations)
        noises = np.broadcast_to(np.asarray(noise, float), count)
        last = list[Action | None](self._last) or [None] * count
        words = self._instructions or [""] * count
        wanted = [
            PolicyRequest(*each)
            for each in zip(observations, goals, words, map(float, noises), last, strict=True)
        ]
        return np.stack(self._replicas.answer(self._source, wanted))

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Return the next action of each robot. Raises ModelUnavailable."""
        actions = self.chunk(observations, goals, rng, noise=noise)[:, 0]
        self.commit(actions)
        return actions

    def instruct(self, instructions: Sequence[str]) -> None:
        """Take over the instruction of each robot of the next batches."""
        self._instructions = list(instructions)

    def commit(self, actions: Actions) -> None:
        """Note the actions that are executed."""
        self._last = list(actions)

    def reset(self) -> None:
        """Forget the last episode."""
        self._last, self._instructions = (), ()


@dataclass(frozen=True)
class ServedModels(ModelsConfig):
    """Models of which some have replicas elsewhere; the others are loaded here."""

    replicas: Mapping[Role, Replicated] = field(default_factory=dict)
    """Replicas by role."""

    @classmethod
    def of(cls, config: ModelsConfig, replicas: Mapping[Role, Replicated]) -> ServedModels:
        """Return a configuration whose models are those of replicas, where there are any."""
        kept = {f.name: getattr(config, f.name) for f in fields(ModelsConfig)}
        return cls(**kept, replicas=replicas)

    def load_vlm(self) -> VisionLanguageModel:
        """Return the vision-language model. Raises SoarError."""
        found = self.replicas.get("vlm")
        return ServedVLM(self.vlm_name, found) if found else super().load_vlm()

    def load_subgoals(self) -> SubgoalGenerator | None:
        """Return the subgoal generator; None for "none". Raises SoarError."""
        found = self.replicas.get("subgoals")
        if found is None or self.subgoals == "none":
            return super().load_subgoals()
        return ServedSubgoals(self.subgoals, found)

    def load_policy(self) -> Policy:
        """Return the policy. Raises SoarError."""
        found = self.replicas.get("policy")
        if found is None:
            return super().load_policy()
        facts = found.facts(self.policy)
        served = ServedPolicy(self.policy, facts, found)
        return spread_policy(ChunkBroker(served, facts.horizon), self.spread)
