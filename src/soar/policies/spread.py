"""A policy of one control period on a robot of a shorter one: each action is spread over several control steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from soar.contract.compare import contract_of, takes_state
from soar.contract.contract import WIDOWX
from soar.contract.convert import spread
from soar.interfaces import InstructedPolicy, Policy
from soar.policies.chunks import ChunkBroker
from soar.types import Actions, Images, Noise, Observation


class SpreadPolicy:
    """Chunks of one action of another policy: deltas in equal parts, absolute targets and the gripper repeated."""

    def __init__(self, policy: Policy, parts: int) -> None:
        self.policy, self.parts = policy, parts
        self.name = policy.name
        self.checkpoint_id = str(getattr(policy, "checkpoint_id", ""))
        learned = contract_of(policy) or WIDOWX
        self.contract = replace(learned, period_s=learned.period_s / parts)
        self.takes_state = takes_state(policy)

    def chunk(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Float32[np.ndarray, "n h a"]:
        """Return the parts of the policy's next action; the arguments are those of `Policy.act`."""
        actions = np.asarray(self.policy.act(observations, goals, rng, noise=noise))
        return np.stack([spread(a, self.contract.action, self.parts) for a in actions])

    def commit(self, actions: Actions) -> None:
        """Do nothing: the policy knows its action."""

    def instruct(self, instructions: Sequence[str]) -> None:
        """Tell the policy the instructions, if it takes any."""
        if isinstance(self.policy, InstructedPolicy):
            self.policy.instruct(instructions)

    def reset(self) -> None:
        """Clear the policy's state of an episode."""
        self.policy.reset()


def spread_policy(policy: Policy, parts: int) -> Policy:
    """Return a policy that acts anew every `parts` control steps; the policy itself for one."""
    return policy if parts == 1 else ChunkBroker(SpreadPolicy(policy, parts), parts)
