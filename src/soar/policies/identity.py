"""Identity of policies, of this package and of others, for records of what acted."""

from __future__ import annotations

from typing import NamedTuple

from soar.checkpoint import load as load_checkpoint
from soar.registry import load_policy, policy_spec
from soar.utils.config import content_hash


class PolicyIdentity(NamedTuple):
    """What tells a policy from others: the same for the same weights, and as far as known only then."""

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
