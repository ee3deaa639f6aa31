"""Policies built from a configuration or a checkpoint, to serve or to be trained further."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeAlias

import torch

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.contract.compare import require_unit_gripper
from soar.contract.contract import WIDOWX, Contract
from soar.data.transforms import NormalizeActions, NormalizeStates, Transform, transforms_from
from soar.errors import CheckpointError, ConfigError
from soar.policies.behavior_cloning import KEYPOINTS, BehaviorCloning, Condition
from soar.policies.chunks import ChunkBroker
from soar.policies.encoders import build_encoder
from soar.policies.gcbc import GCBCConfig, GoalImage
from soar.policies.heads.head import HeadConfig
from soar.policies.lcbc import Instruction, LCBCConfig
from soar.utils.config import OneOf

CONFIGS: dict[str, type[GCBCConfig | LCBCConfig]] = {"gcbc": GCBCConfig, "lcbc": LCBCConfig}
"""Configurations by kind of policy."""
PolicyConfig: TypeAlias = Annotated[GCBCConfig | LCBCConfig, OneOf(CONFIGS)]


def build_policy(
    config: PolicyConfig, transforms: Sequence[Transform], contract: Contract = WIDOWX
) -> BehaviorCloning:
    """Build a policy with random weights from torch's global generator.

    Args:
        config: the policy.
        transforms: of training and serving.
        contract: meaning of what it learns from.

    Raises:
        ConfigError: `attention_weight` needs more attention points than the encoder has, or the gripper has another
            range than 0 to 1.
    """
    require_unit_gripper(contract)
    points = config.encoder.attention_points
    if config.attention_weight and points < KEYPOINTS:
        raise ConfigError(
            f"attention_weight is {config.attention_weight} and the encoder's attention_points are {points}; "
            f"valid: a weight of 0, or a compact encoder with at least {KEYPOINTS}"
        )
    condition: Condition
    if isinstance(config, GCBCConfig):
        condition, channels, context_dim = GoalImage(), 6, 0
    else:
        condition, channels = Instruction(config), 3
        context_dim = config.context_dim or config.word_dim
    encoder = build_encoder(config.encoder, channels, config.resolution, context_dim)
    cameras = {name: build_encoder(config.encoder, 3, config.resolution) for name in config.cameras}
    return BehaviorCloning(condition, encoder, transforms, config, contract, cameras)


def load_policy(folder: str | Path, device: str = "auto") -> BehaviorCloning:
    """Load the policy of a checkpoint's folder, ready to act; on "auto" by the GPU if there is one.

    Raises:
        CheckpointError: the folder holds no policy, or one that this version can't build.
    """
    from soar.utils.hardware import choose_device

    return policy_from(checkpoints.load(folder)).to(choose_device(device)).eval()


def serve_policy(folder: str | Path, device: str = "auto") -> BehaviorCloning | ChunkBroker:
    """Load the policy of a checkpoint's folder, with a broker of its chunks if it predicts any.

    Raises:
        CheckpointError: the folder holds no policy, or one that this version can't build.
    """
    policy = load_policy(folder, device)
    head = policy.config.head
    if head.chunk == 1:
        return policy
    return ChunkBroker(policy, head.executed, ensemble=head.ensemble)


def policy_from(checkpoint: Checkpoint) -> BehaviorCloning:
    """Build the policy that a checkpoint describes, with its weights, on the CPU."""
    with checkpoints.building(checkpoint):
        transforms = transforms_from(checkpoint.transforms)
        policy = build_policy(config_from(checkpoint), transforms, checkpoint.contract)
    checkpoints.load_weights(policy, checkpoint)
    policy.checkpoint_id = checkpoint.id
    return policy


def with_fresh_head(policy: BehaviorCloning, head: HeadConfig) -> BehaviorCloning:
    """Return a policy with the same weights but for a new head, random from torch's global generator."""
    config = replace(policy.config, head=head)
    assert isinstance(config, GCBCConfig | LCBCConfig)
    fresh = build_policy(config, policy.transforms, policy.contract)
    kept = {k: v for k, v in policy.state_dict().items() if not k.startswith("head.")}
    fresh.load_state_dict({**fresh.state_dict(), **kept})
    return fresh


def with_advantage(policy: BehaviorCloning) -> BehaviorCloning:
    """Return a policy with the same weights that is told advantages, which change nothing before training."""
    config = replace(policy.config, advantage=True)
    assert isinstance(config, GCBCConfig | LCBCConfig)
    told = build_policy(config, policy.transforms, policy.contract)
    told.load_state_dict({**told.state_dict(), **policy.state_dict()})
    return told


def lcbc_from_gcbc(
    checkpoint: Checkpoint, config: LCBCConfig, transforms: Sequence[Transform]
) -> BehaviorCloning:
    """Initialize a language-conditioned policy from a goal-conditioned one; only its language layers are random.

    The first convolution's weights for the goal image are left out; the action statistics are kept.

    Raises:
        CheckpointError: `checkpoint` isn't "gcbc", or has another encoder.
    """
    old = policy_from(checkpoint)
    if old.name != "gcbc" or old.config.encoder != config.encoder:
        raise CheckpointError(
            f"checkpoint {checkpoint.id} is {old.name} with {old.config.encoder}; "
            f"valid to start lcbc from: gcbc with {config.encoder}"
        )
    policy = build_policy(config, with_statistics_of(old, transforms), old.contract)
    weights, known = policy.state_dict(), old.state_dict()
    stem = "encoder.stem.0.weight"
    known[stem] = torch.cat([known[stem][:, :3], known[stem][:, 6:]], 1)
    policy.load_state_dict({name: known.get(name, w) for name, w in weights.items()})
    return policy


def with_statistics_of(
    policy: BehaviorCloning, transforms: Sequence[Transform]
) -> tuple[Transform, ...]:
    """Return transforms with the statistics of actions and states that a policy has, so that units stay."""
    units = NormalizeActions, NormalizeStates
    kept: dict[type[Transform], Transform] = {
        type(t): t for t in policy.transforms if isinstance(t, units)
    }
    return tuple(kept.get(type(t), t) for t in transforms)


def config_from(checkpoint: Checkpoint) -> GCBCConfig | LCBCConfig:
    """Read a policy checkpoint's model configuration.

    Raises:
        CheckpointError: it is no policy, or has settings that this version doesn't know.
    """
    if checkpoint.kind not in CONFIGS:
        raise CheckpointError(
            f"a '{checkpoint.kind}' checkpoint is no policy; valid: {', '.join(CONFIGS)}"
        )
    return checkpoint.model_config(CONFIGS[checkpoint.kind])
