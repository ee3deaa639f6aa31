"""Identity of policies, of this package and of others, for records of what acted."""

from __future__ import annotations

from typing import NamedTuple

from soar.checkpoint import exists
from soar.checkpoint import load as load_checkpoint
from soar.errors import ConfigError
from soar.promotion import base_policy, promoted_models
from soar.registry import COMPACT, ModelSpec, load_policy, policy_spec, subgoals_spec
from soar.utils.config import content_hash


class PolicyIdentity(NamedTuple):
    """What tells a policy from others: the same for the same weights and, as far as is known, only for those."""

    kind: str
    """"gcbc" or "lcbc"; the name that another policy gives itself."""
    id: str
    """Id of its checkpoint; of a policy without one, the hash of its name and options."""


def policy_identity(name: str) -> PolicyIdentity:
    """Return a policy's identity; one that is no checkpoint is loaded for it. Raises ConfigError, CheckpointError."""
    spec = policy_spec(name)
    if spec.is_compact:
        checkpoint = load_checkpoint(spec.folder)
        return PolicyIdentity(checkpoint.kind, checkpoint.id)
    policy = load_policy(name)
    made_of = content_hash([spec.kind, spec.source, spec.base, dict(spec.options)])
    return PolicyIdentity(policy.name, str(getattr(policy, "checkpoint_id", "")) or made_of)


def check_exists(spec: ModelSpec) -> None:
    """Raise CheckpointError: the name of a model is a folder without a checkpoint."""
    if spec.is_compact and not exists(spec.folder):
        load_checkpoint(spec.folder)  # says what is valid


def check_goals(policy: str, subgoals: str) -> None:
    """Check, before anything runs, that policy and generator exist and that the policy can use what it is to pursue.

    Args:
        policy: a policy, steered or not, as `soar.registry` names it, or a run's folder.
        subgoals: likewise its subgoal generator.

    Raises:
        CheckpointError: there is no such policy or generator.
        ConfigError: a "gcbc" policy has no generator, or an "lcbc" policy has one.
    """
    spec = policy_spec(base_policy(promoted_models(policy)[0]))
    generator = subgoals_spec(promoted_models(subgoals)[1])
    check_exists(generator)
    generates = generator.kind != "none"
    kind = load_checkpoint(spec.folder).kind if spec.is_compact else ""
    if kind == "gcbc" and not generates:
        raise ConfigError(
            f"policy {policy} reaches images and has no subgoals; valid: subgoals {COMPACT} or another generator"
        )
    if kind == "lcbc" and generates:
        raise ConfigError(
            f"policy {policy} follows instructions alone; valid: subgoals none, not {subgoals}"
        )
