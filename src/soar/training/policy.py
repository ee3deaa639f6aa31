"""Train a policy: the model, its transforms, the mixture and `fit`, put together. And the presets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from soar.checkpoint import Checkpoint
from soar.data.mixture import Mixture, Source
from soar.data.relabel import Goals, Uniform
from soar.data.transforms import (
    AutoExposure,
    BinarizeGripper,
    Color,
    Crop,
    GoalBlur,
    NormalizeActions,
    Resize,
    ToFloat,
    ToneCurve,
    Transform,
)
from soar.errors import ConfigError
from soar.policies.behavior_cloning import BehaviorCloning
from soar.policies.encoders import EncoderConfig
from soar.policies.gcbc import GCBCConfig
from soar.policies.lcbc import LCBCConfig
from soar.policies.loading import PolicyConfig, build_policy, lcbc_from_gcbc, policy_from
from soar.training.fit import FitConfig, FitResult, fit


@dataclass(frozen=True)
class PolicyTrainConfig:
    """Everything that makes a policy out of episodes. The defaults are the paper's (B.2, B.3)."""

    policy: PolicyConfig = field(default_factory=GCBCConfig)
    image_transforms: tuple[Transform, ...] = (Crop(), Color())
    """What is done to observations and goals, in this order."""
    goals: Goals = field(default_factory=Uniform)
    """Hindsight goals of pretraining data."""
    autonomous_goals: Goals = field(default_factory=lambda: Uniform(0, 12))
    """Hindsight goals of the robots' own data."""
    autonomous_sum_steps: int = 2
    """Consecutive actions of the robots' own data that are added up into one."""
    autonomous_min_motion_m: float = 0.0
    """Pauses left out of the robots' own data: see `soar.data.idle_frames`; 0: none."""
    fit: FitConfig = field(default_factory=FitConfig)


def paper(kind: str = "gcbc") -> PolicyTrainConfig:
    """The paper's every number: ResNet-34 at 256 px, 500k steps of 256 samples."""
    return PolicyTrainConfig(_policy(kind, 256, EncoderConfig("resnet34")))


def compact(kind: str = "gcbc") -> PolicyTrainConfig:
    """A small policy at 96 px that CPUs train in hours and serve in milliseconds; it feels its arm, too."""
    config = FitConfig(
        steps=16_000, batch_size=128, learning_rate=1e-3, warmup_steps=300, ema_decay=0.998,
        save_every=500,
    )  # fmt: skip
    encoder = EncoderConfig("compact", patch=6, fine=32, attention_points=8)
    policy = replace(
        _policy(kind, 96, encoder), pose_weight=0.5, attention_weight=0.15, proprioception_dim=32
    )
    crop = Crop(area=(0.6, 1.0), ratio=(0.8, 1.25), turn_deg=10)
    hue = 0.5 if kind == "gcbc" else 0.1  # words name colours, goal images show them
    color = Color(brightness=0.3, contrast=(0.6, 1.4), saturation=(0.5, 1.5), hue=hue)
    pictures: tuple[Transform, ...] = (crop, color, AutoExposure())
    if kind == "gcbc":
        pictures = (crop, color, ToneCurve(), AutoExposure(), GoalBlur(radius=3))
    return PolicyTrainConfig(
        policy, pictures, autonomous_sum_steps=1, autonomous_min_motion_m=0.015, fit=config
    )


def debug(kind: str = "gcbc") -> PolicyTrainConfig:
    """The compact one, very small, and six steps, to see everything run from end to end."""
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
    "debug": debug,
}


def train_policy(
    recipe: PolicyTrainConfig,
    sources: Sequence[Source],
    folder: str | Path | None,
    *,
    start: Checkpoint | None = None,
    validation: Sequence[Source] = (),
) -> tuple[BehaviorCloning, FitResult]:
    """Train a policy on a mixture; continues where a run in `folder` stopped.

    `start`: a checkpoint to begin from, as improvement does. Its model settings and action statistics are
    kept, so that old and new actions mean the same; augmentation is the recipe's. A language-conditioned policy
    can begin from a goal-conditioned one (`lcbc_from_gcbc`).

    Raises:
        ConfigError: the sources' resolution isn't the policy's.
        CheckpointError: `folder` holds a run with other settings; `start` doesn't fit.
    """
    mixture = _mixture(recipe, sources)
    torch.manual_seed(recipe.fit.seed)
    if start is None:
        policy = build_policy(recipe.policy, _transforms(recipe, _normalized(mixture)))
    elif start.kind == "gcbc" and isinstance(recipe.policy, LCBCConfig):
        policy = lcbc_from_gcbc(start, recipe.policy, _transforms(recipe, _normalized(mixture)))
    else:
        policy = policy_from(start)
        _must_match(policy, recipe)
        kept = next(t for t in policy.transforms if isinstance(t, NormalizeActions))
        policy.transforms = _transforms(recipe, kept)
    provenance = {
        "mixture": mixture.provenance(),
        "seed": recipe.fit.seed,
        "started_from": start.id if start else None,
    }
    result = fit(
        policy,
        mixture,
        recipe.fit,
        folder,
        export=lambda: policy.checkpoint(provenance),
        validation=_mixture(recipe, validation) if validation else None,
    )
    return policy.eval(), result


def with_fit(recipe: PolicyTrainConfig, **changes: object) -> PolicyTrainConfig:
    """The recipe with some of `fit`'s settings changed."""
    return replace(recipe, fit=replace(recipe.fit, **changes))  # type: ignore[arg-type]


def _policy(kind: str, resolution: int, encoder: EncoderConfig) -> PolicyConfig:
    if kind == "gcbc":
        return GCBCConfig(resolution, encoder)
    if kind == "lcbc":
        return LCBCConfig(resolution, encoder)
    raise ConfigError(f"no policy '{kind}'; valid: gcbc, lcbc")


def _normalized(mixture: Mixture) -> NormalizeActions:
    statistics = mixture.action_statistics()
    return NormalizeActions(tuple(statistics["mean"]), tuple(statistics["std"]))


def _transforms(recipe: PolicyTrainConfig, normalize: NormalizeActions) -> tuple[Transform, ...]:
    return (
        Resize(recipe.policy.resolution), ToFloat(), *recipe.image_transforms, BinarizeGripper(), normalize
    )  # fmt: skip


def _mixture(recipe: PolicyTrainConfig, sources: Sequence[Source]) -> Mixture:
    if isinstance(recipe.policy, LCBCConfig):
        from soar.nn.text import SentenceEncoder

        encoder = SentenceEncoder(recipe.policy.words)
        if encoder.dim != recipe.policy.word_dim:
            raise ConfigError(
                f"word_dim is {recipe.policy.word_dim}; '{recipe.policy.words}' needs {encoder.dim}"
            )
        return Mixture(sources, recipe.fit.seed, lambda sentences: encoder(sentences).numpy())
    return Mixture(sources, recipe.fit.seed)


def _must_match(policy: BehaviorCloning, recipe: PolicyTrainConfig) -> None:
    """Raises ConfigError: the policy to start from is of another kind or sees at another resolution."""
    kind = "lcbc" if isinstance(recipe.policy, LCBCConfig) else "gcbc"
    if policy.name != kind:
        raise ConfigError(
            f"the recipe trains {kind}, but the checkpoint to start from is {policy.name}"
        )
    if policy.config["resolution"] != recipe.policy.resolution:
        raise ConfigError(
            f"the recipe is for {recipe.policy.resolution} px, and the policy to start from sees "
            f"{policy.config['resolution']} px"
        )
