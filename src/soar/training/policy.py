"""Policy training: configuration, presets, and `train_policy`, which joins model, transforms, mixture and `fit`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from jaxtyping import Float32
from torch import Tensor

from soar.checkpoint import Checkpoint
from soar.contract.compare import require_match
from soar.contract.contract import WIDOWX, Contract
from soar.data.mixture import Embed, Mixture, Source
from soar.data.relabel import Goals, Uniform
from soar.data.transforms import (
    AnyTransform,
    AutoExposure,
    BinarizeGripper,
    Color,
    Crop,
    GoalBlur,
    NormalizeActions,
    NormalizeStates,
    Resize,
    TableColor,
    ToFloat,
    ToneCurve,
    Transform,
)
from soar.errors import ConfigError
from soar.nn.sentences import FILES, read_sentences
from soar.nn.text import KnownSentences
from soar.policies.behavior_cloning import BehaviorCloning
from soar.policies.encoders import EncoderConfig
from soar.policies.gcbc import GCBCConfig
from soar.policies.heads.head import HeadConfig
from soar.policies.lcbc import Instruction, LCBCConfig
from soar.policies.loading import (
    CONFIGS,
    PolicyConfig,
    build_policy,
    config_from,
    lcbc_from_gcbc,
    policy_from,
    with_advantage,
    with_fresh_head,
    with_statistics_of,
)
from soar.training.fit import FitConfig, FitResult, fit
from soar.utils.hardware import choose_device

_VECTORS = "condition.known.vectors"
"""Weights of a policy that are embeddings of its instructions."""


@dataclass(frozen=True)
class PolicyTrainConfig:
    """Model, data and optimization of a policy. The defaults are the paper's (B.2, B.3)."""

    policy: PolicyConfig = field(default_factory=GCBCConfig)
    image_transforms: tuple[AnyTransform, ...] = (Crop(), Color())
    """Transforms of observations and goals, in order."""
    goals: Goals = field(default_factory=Uniform)
    """Hindsight goals of pretraining data."""
    autonomous_goals: Goals = field(default_factory=lambda: Uniform(0, 12))
    """Hindsight goals of autonomous data."""
    autonomous_sum_steps: Annotated[int, Ge(1)] = 2
    """Consecutive actions of autonomous data that are summed into one."""
    autonomous_min_motion_m: Annotated[float, Ge(0)] = 0.0
    """Least motion between frames of autonomous data [m], see `soar.data.idle_frames`; 0 keeps all frames."""
    fresh_head: bool = False
    """Whether a policy that starts from a checkpoint gets a new head, that of `policy`, with random weights."""
    compile: bool = False
    """Whether torch.compile makes kernels of the image encoder: on an H100 this trained the paper's policy about
    twice as fast, a minute after the start; of little use on CPUs (docs/performance.md)."""
    fit: FitConfig = field(default_factory=FitConfig)


def paper(kind: str = "gcbc") -> PolicyTrainConfig:
    """Return the paper's configuration: ResNet-34 at 256 px, 500k steps of 256 samples."""
    return PolicyTrainConfig(_policy(kind, 256, EncoderConfig("resnet34")))


def compact(kind: str = "gcbc") -> PolicyTrainConfig:
    """Return the configuration of a small policy at 96 px with proprioception.

    CPUs train it in hours and run it in milliseconds.
    """
    config = FitConfig(
        steps=16_000, batch_size=128, learning_rate=1e-3, warmup_steps=300, ema_decay=0.998,
        save_every=500,
    )  # fmt: skip
    encoder = EncoderConfig("compact", patch=6, fine=32, attention_points=8)
    policy = replace(
        _policy(kind, 96, encoder), pose_weight=0.5, attention_weight=0.15, proprioception_dim=32
    )
    crop = Crop(area=(0.6, 1.0), ratio=(0.8, 1.25), turn_deg=10)
    hue = 0.5 if kind == "gcbc" else 0.1  # words name colors, goal images show them
    color = Color(brightness=0.3, contrast=(0.6, 1.4), saturation=(0.5, 1.5), hue=hue)
    transforms: tuple[Transform, ...] = (crop, color, AutoExposure())
    if kind == "gcbc":
        transforms = (crop, TableColor(), color, ToneCurve(), AutoExposure(), GoalBlur(radius=3))
    return PolicyTrainConfig(
        policy, transforms, autonomous_sum_steps=1, autonomous_min_motion_m=0.015, fit=config
    )


def susie(kind: str = "gcbc") -> PolicyTrainConfig:
    """Return the configuration of SuSIE's low-level policy: a diffusion head with chunks of four, temporal ensembling.

    From its released code (bridge_data_v2, experiments/susie): goals 0 to 24 steps ahead ("delta goals"), 20 denoising
    steps, three residual blocks on the features of a ResNet-34, average 0.998, cosine decay over 2M steps. Actions
    are z-scored here, and the encoder is that of `paper`.
    """
    head = HeadConfig(
        "diffusion", chunk=4, ensemble=True, steps=20, width=256, expansion=4, dropout=0.1, draws=1
    )
    policy = replace(_policy(kind, 256, EncoderConfig("resnet34")), hidden=(), head=head)
    fit = FitConfig(steps=2_000_000, betas=(0.9, 0.999), weight_decay=0.0, ema_decay=0.998)
    return PolicyTrainConfig(policy, fit=fit)


def debug(kind: str = "gcbc") -> PolicyTrainConfig:
    """Return the configuration of a tiny compact policy and six steps, to see everything run end to end."""
    encoder = EncoderConfig(
        "compact", widths=(8, 16), depths=(1, 1), dim=32, fine=8, attention_points=3, detail=8
    )
    policy = replace(
        _policy(kind, 32, encoder), pose_weight=0.5, attention_weight=0.15, proprioception_dim=8
    )
    config = FitConfig(steps=6, batch_size=8, warmup_steps=2, log_every=1, save_every=2)
    return PolicyTrainConfig(policy, fit=config)


PRESETS: dict[str, Callable[[str], PolicyTrainConfig]] = {
    "paper": paper,
    "compact": compact,
    "susie": susie,
    "debug": debug,
}


def train_policy(
    config: PolicyTrainConfig,
    sources: Sequence[Source],
    folder: str | Path | None,
    *,
    start: Checkpoint | None = None,
    validation: Sequence[Source] = (),
) -> tuple[BehaviorCloning, FitResult]:
    """Train a policy on a mixture, or resume the run in `folder`.

    Args:
        config: model, data and optimization.
        sources: training data.
        folder: log, checkpoint and training state; None keeps nothing.
        start: checkpoint to start from, as improvement does. Its model configuration and action statistics are kept,
            so that old and new actions have the same units; the image transforms are `config`'s, and with `fresh_head`
            the head. A language-conditioned policy can start from a goal-conditioned one (`lcbc_from_gcbc`).
        validation: data whose loss is logged.

    Raises:
        ConfigError: the sources' resolution isn't the policy's, or `start` is of another kind or resolution.
        CheckpointError: `folder` holds a run with other settings, or `start` can't be loaded.
    """
    known = _known_sentences(config.policy, start)
    if known is not None:
        config = _with_sentences(config, known)
    mixture = _mixture(config, sources, known)
    contract = _contract(mixture, config)
    if start is not None:
        takes_state = bool(config.policy.proprioception_dim)
        names = "the training data", f"checkpoint {start.id}"
        require_match(contract, start.contract, names, uses_state=takes_state)
    torch.manual_seed(config.fit.seed)
    policy = _first_policy(config, _transforms(config, mixture), contract, start)
    if known is not None:
        _set_sentences(policy, config.policy, known)
    if config.compile:
        _require_compiler(choose_device(config.fit.device))
        policy.encoder.compile()
    provenance = {
        "mixture": mixture.provenance(),
        "seed": config.fit.seed,
        "started_from": start.id if start else None,
    }
    result = fit(
        policy,
        mixture,
        config.fit,
        folder,
        export=lambda: policy.checkpoint(provenance),
        validation=_mixture(config, validation, known) if validation else None,
    )
    return policy.eval(), result


def _require_compiler(device: torch.device) -> None:
    """Raise ConfigError if torch.compile has nothing to compile with."""
    if device.type == "cuda":
        found = find_spec("triton") is not None
    else:
        found = any(map(which, filter(None, (os.environ.get("CXX"), "g++", "clang++"))))
    if not found:
        needed = "Triton" if device.type == "cuda" else "a C++ compiler"
        raise ConfigError(f"compile needs {needed}, which isn't installed; valid: --no-compile")


def _first_policy(
    config: PolicyTrainConfig,
    transforms: tuple[Transform, ...],
    contract: Contract,
    start: Checkpoint | None,
) -> BehaviorCloning:
    """Return the policy to train: random, or that of the checkpoint to start from as the configuration changes it."""
    if start is None:
        return build_policy(config.policy, transforms, contract)
    if start.kind == "gcbc" and isinstance(config.policy, LCBCConfig):
        return lcbc_from_gcbc(start, config.policy, transforms)
    policy = policy_from(start)
    _must_match(policy, config)
    if config.policy.advantage and policy.advantage is None:
        policy = with_advantage(policy)
    if config.fresh_head:
        policy = with_fresh_head(policy, config.policy.head)
    policy.transforms = with_statistics_of(policy, transforms)
    return policy


def with_fit(config: PolicyTrainConfig, **changes: object) -> PolicyTrainConfig:
    """Return the configuration with some of `fit`'s settings changed."""
    return replace(config, fit=replace(config.fit, **changes))  # type: ignore[arg-type]


def _policy(kind: str, resolution: int, encoder: EncoderConfig) -> GCBCConfig | LCBCConfig:
    if kind not in CONFIGS:
        raise ConfigError(f"no policy '{kind}'; valid: {', '.join(CONFIGS)}")
    return CONFIGS[kind](resolution, encoder)


def _contract(mixture: Mixture, config: PolicyTrainConfig) -> Contract:
    """Return the meaning of what a policy learns from. Raises ConfigError: the data lacks a camera."""
    if missing := [name for name in config.policy.cameras if name not in mixture.cameras]:
        raise ConfigError(
            f"the policy takes camera '{missing[0]}', which the training data doesn't hold; valid: "
            f"{', '.join(mixture.cameras) or 'none'}"
        )
    first, *others = mixture.contract.cameras
    taken = (c for c in others if c.name in config.policy.cameras)
    return replace(mixture.contract, cameras=(first, *taken))


def _transforms(config: PolicyTrainConfig, mixture: Mixture) -> tuple[Transform, ...]:
    """Return the transforms with the mixture's statistics; the WidowX's states have fixed ones."""
    contract = mixture.contract
    transforms = [Resize(config.policy.resolution), ToFloat(), *config.image_transforms]
    if contract.action.gripper is not None:
        transforms.append(BinarizeGripper())
    transforms.append(NormalizeActions(**_tuples(mixture.action_statistics())))
    if contract.state != WIDOWX.state:
        transforms.append(NormalizeStates(**_tuples(mixture.state_statistics())))
    return tuple(transforms)


def _tuples(statistics: Mapping[str, list[float]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(values) for name, values in statistics.items()}


def _known_sentences(config: PolicyConfig, start: Checkpoint | None) -> KnownSentences | None:
    """Return the embeddings of instructions in the weights to start from and in the file that `words` names."""
    if not isinstance(config, LCBCConfig):
        return None
    parts: dict[str, Tensor] = {}
    if start is not None and isinstance(learned := config_from(start), LCBCConfig):
        vectors = start.weights.get(_VECTORS, torch.zeros(0, 0))
        parts |= dict(zip(learned.sentences, vectors.float(), strict=True))
    if config.words.endswith(FILES):
        parts |= dict(zip(*read_sentences(Path(config.words)), strict=True))
    if not parts:
        if config.sentences:
            raise ConfigError(
                "`sentences` need their embeddings; valid: `words`, a file of them, or a policy to start from"
            )
        return None
    if len(dims := {len(v) for v in parts.values()}) > 1:
        raise ConfigError(f"embeddings of several lengths: {sorted(dims)}")
    known = KnownSentences(tuple(parts), dims.pop())
    known.vectors.copy_(torch.stack(list(parts.values())))
    return known


def _with_sentences(config: PolicyTrainConfig, known: KnownSentences) -> PolicyTrainConfig:
    assert isinstance(config.policy, LCBCConfig)
    policy = replace(
        config.policy,
        words=Path(config.policy.words).name,
        sentences=known.sentences,
        word_dim=known.vectors.shape[1],
    )
    return replace(config, policy=policy)


def _set_sentences(policy: BehaviorCloning, config: PolicyConfig, known: KnownSentences) -> None:
    """Give a policy the embeddings of its instructions, in place of those that it has."""
    assert isinstance(policy.condition, Instruction)
    assert isinstance(policy.config, LCBCConfig)
    assert isinstance(config, LCBCConfig)
    if config.word_dim != policy.config.word_dim:
        raise ConfigError(
            f"embeddings of {config.word_dim} numbers for a policy that takes {policy.config.word_dim}"
        )
    policy.condition.known = known
    policy.config = replace(policy.config, sentences=config.sentences, words=config.words)


def _mixture(
    config: PolicyTrainConfig, sources: Sequence[Source], known: KnownSentences | None = None
) -> Mixture:
    embed: Embed | None = None
    if known is not None:

        def embed(sentences: Sequence[str]) -> Float32[np.ndarray, "n d"]:
            vectors: Float32[np.ndarray, "n d"] = known(sentences).numpy()
            return vectors

    elif isinstance(config.policy, LCBCConfig):
        from soar.nn.text import SentenceEncoder

        encoder = SentenceEncoder(config.policy.words)
        if encoder.dim != config.policy.word_dim:
            raise ConfigError(
                f"word_dim is {config.policy.word_dim}; '{config.policy.words}' needs {encoder.dim}"
            )

        def embed(sentences: Sequence[str]) -> Float32[np.ndarray, "n d"]:
            return encoder(sentences).numpy()

    return Mixture(sources, config.fit.seed, embed, config.policy.head.chunk)


def _must_match(policy: BehaviorCloning, config: PolicyTrainConfig) -> None:
    """Raise ConfigError if the policy to start from is of another kind or resolution."""
    if policy.name != config.policy.kind:
        raise ConfigError(
            f"the configuration trains {config.policy.kind}, but the checkpoint to start from is {policy.name}"
        )
    if policy.config.resolution != config.policy.resolution:
        raise ConfigError(
            f"the configuration is for {config.policy.resolution} px, and the policy to start from takes "
            f"{policy.config.resolution} px"
        )
