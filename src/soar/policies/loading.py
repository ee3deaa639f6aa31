"""From a checkpoint, and nothing else, to a policy that serves or is trained further."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.data.transforms import NormalizeActions, Transform, transforms_from
from soar.errors import CheckpointError, ConfigError
from soar.policies.behavior_cloning import PLACES, BehaviorCloning, Condition
from soar.policies.encoders import build_encoder
from soar.policies.gcbc import GCBCConfig, StackedGoal
from soar.policies.lcbc import Instruction, LCBCConfig

PolicyConfig = GCBCConfig | LCBCConfig
CONFIGS: dict[str, type[PolicyConfig]] = {"gcbc": GCBCConfig, "lcbc": LCBCConfig}


def build_policy(config: PolicyConfig, transforms: Sequence[Transform]) -> BehaviorCloning:
    """A fresh policy of either sort; seed torch before, for the same weights again.

    Raises ConfigError: gazes shall be taught that the encoder doesn't have.
    """
    if config.attention_weight and config.encoder.attention_points < PLACES:
        raise ConfigError(
            f"attention_weight is {config.attention_weight} and the encoder has {config.encoder.attention_points} gazes; "
            f"valid: 0, or a compact encoder with at least {PLACES}"
        )
    condition: Condition
    if isinstance(config, GCBCConfig):
        condition, channels, context_dim = StackedGoal(), 6, 0
    else:
        condition, channels, context_dim = Instruction(config), 3, config.context_dim
    return BehaviorCloning(
        condition,
        build_encoder(config.encoder, channels, config.resolution, context_dim),
        transforms,
        asdict(config),
        hidden=config.hidden,
        std=config.std,
        pose_weight=config.pose_weight,
        attention_weight=config.attention_weight,
        proprioception_dim=config.proprioception_dim,
    )


def load_policy(
    folder: str | Path, device: str = "auto", *, compile: bool = False
) -> BehaviorCloning:
    """The policy of a checkpoint's folder, ready to act.

    `compile`: by torch.compile, which takes a while at the first action, and a C++ compiler.

    Raises:
        CheckpointError: the folder holds no policy, or one that this version can't build.
    """
    from soar.utils.hardware import choose_device

    policy = policy_from(checkpoints.load(folder)).to(choose_device(device)).eval()
    if compile:
        policy.encoder.compile()
    return policy


def policy_from(checkpoint: Checkpoint) -> BehaviorCloning:
    """The policy that a checkpoint describes, with its weights, on the CPU."""
    policy = build_policy(config_from(checkpoint), transforms_from(checkpoint.transforms))
    checkpoints.load_weights(policy, checkpoint)
    policy.checkpoint_id = checkpoint.id
    return policy


def lcbc_from_gcbc(
    checkpoint: Checkpoint, config: LCBCConfig, transforms: Sequence[Transform]
) -> BehaviorCloning:
    """A language-conditioned policy that sees and moves like a goal-conditioned one; its words are new.

    What `checkpoint` knows about goal images is left out, its action statistics are kept.
    Raises CheckpointError: it isn't "gcbc", or has another encoder.
    """
    old = policy_from(checkpoint)
    if old.name != "gcbc" or old.config["encoder"] != asdict(config.encoder):
        raise CheckpointError(
            f"checkpoint {checkpoint.id} is {old.name} with the encoder {old.config['encoder']}; "
            f"valid to begin to follow words from: gcbc with {asdict(config.encoder)}"
        )
    units = next(t for t in old.transforms if isinstance(t, NormalizeActions))
    kept = [units if isinstance(t, NormalizeActions) else t for t in transforms]
    policy = build_policy(config, kept)
    weights, known = policy.state_dict(), old.state_dict()
    stem = "encoder.stem.0.weight"
    known[stem] = torch.cat([known[stem][:, :3], known[stem][:, 6:]], 1)
    policy.load_state_dict({name: known.get(name, w) for name, w in weights.items()})
    return policy


def config_from(checkpoint: Checkpoint) -> PolicyConfig:
    """A checkpoint's model settings. Raises CheckpointError: it is no policy, or has unknown settings."""
    if checkpoint.kind not in CONFIGS:
        raise CheckpointError(
            f"a '{checkpoint.kind}' checkpoint is no policy; valid: {', '.join(CONFIGS)}"
        )
    return checkpoint.model_config(CONFIGS[checkpoint.kind])
