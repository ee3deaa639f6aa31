"""Released policies (GCBC, LCBC and diffusion GCBC of bridge_data_v2 and SOAR) as checkpoints.

The encoder is theirs (`soar.nn.bridge_resnet`), the rest is this package's own. Weights, action statistics and image
size come along; a policy trained further gets the paper's augmentation, as theirs had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import Tensor

from soar.checkpoint import Checkpoint, load_weights
from soar.conversion.flax_files import Parameters, agent_parameters, subtree
from soar.conversion.layers import linear, resnet_weights
from soar.conversion.settings import AgentSettings, known_sentences, read_settings
from soar.data.transforms import (
    BinarizeGripper,
    Color,
    Crop,
    NormalizeActions,
    Resize,
    ToFloat,
)
from soar.errors import ConfigError
from soar.nn.sentences import Sentences
from soar.policies.gcbc import GCBCConfig
from soar.policies.heads.head import HeadConfig
from soar.policies.lcbc import LCBCConfig
from soar.policies.loading import build_policy

Kind: TypeAlias = Literal["gcbc", "lcbc", "dgcbc"]
AGENTS: Mapping[Kind, str] = {"gcbc": "gc_bc", "lcbc": "lc_bc", "dgcbc": "gc_ddpm_bc"}
"""Names of the algorithms in their settings."""
RESOLUTION = 256
"""Height and width of the images of all released policies [px]."""
_CLIP = 2.0
"""Range of the diffusion policy's z-scored actions while it denoises."""
_GRIPPER_LEVEL = 0.5
"""Level of an open gripper in the actions of SOAR's policies, by default; closed is its negative."""


def convert_policy(
    kind: Kind, source: Path, settings: Path, sentences: Sentences | None = None
) -> Checkpoint:
    """Return a released policy as a checkpoint.

    Args:
        kind: the policy.
        source: Flax's checkpoint: a msgpack file or the folder of an Orbax checkpoint.
        settings: the JSON of its training run, or SOAR's YAML of a robot.
        sentences: embeddings of the instructions that an lcbc policy shall follow.

    Raises:
        ConfigError: the settings are of another policy, or name something that can't be converted.
    """
    found = read_settings(settings)
    if found.agent != AGENTS[kind]:
        raise ConfigError(f"{settings} is of agent '{found.agent}'; {kind} is '{AGENTS[kind]}'")
    found.require("use_proprio", False)
    if kind != "lcbc":
        found.require("early_goal_concat", True)
    parameters = agent_parameters(source, "target_params" if kind == "dgcbc" else "params")
    actor = subtree(parameters, "modules_actor")
    weights = resnet_weights(subtree(actor, "encoder.encoder"), "encoder.")
    if kind == "dgcbc":
        head, more = _diffusion_head(found, actor)
        hidden: tuple[int, ...] = ()
    else:
        head, more, hidden = HeadConfig(), *_gaussian_head(found, actor)
    size: dict[str, Any] = {
        "resolution": found.resolution or RESOLUTION, "encoder": found.encoder, "hidden": hidden, "head": head,
        "std": _std(found, actor),
    }  # fmt: skip
    config: GCBCConfig | LCBCConfig = GCBCConfig(**size)
    if kind == "lcbc":
        known = known_sentences(found, sentences)
        config = LCBCConfig(
            **size, words=found.text, word_dim=known.vectors.shape[1], context_dim=0, sentences=known.sentences
        )  # fmt: skip
        more["condition.known.vectors"] = known.vectors
    transforms = (
        Resize(config.resolution), ToFloat(), Crop(), Color(), BinarizeGripper(), _normalization(found, kind)
    )  # fmt: skip
    policy = build_policy(config, transforms)
    load_weights(policy, Checkpoint(config.kind, weights | more, {}))
    return policy.checkpoint({"converted_from": str(source), "agent": found.agent})


def _gaussian_head(
    settings: AgentSettings, actor: Parameters
) -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Return the head's weights, and the widths of its hidden layers."""
    options = settings.options.get("policy_kwargs", {})
    settings.require("tanh_squash_distribution", False, options)
    settings.require("use_layer_norm", False, settings.options.get("network_kwargs", {}))
    weights = linear(subtree(actor, "Dense_0"), "head.1.")
    hidden: list[int] = []
    while layer := subtree(actor, f"network.Dense_{len(hidden)}"):
        weights |= linear(layer, f"head.0.{2 * len(hidden)}.")
        hidden.append(layer["kernel"].shape[1])
    return weights, tuple(hidden)


def _std(settings: AgentSettings, actor: Parameters) -> float:
    """Return the standard deviation of the motion, z-scored; that of the gripper is another in theirs."""
    options = settings.options.get("policy_kwargs", {})
    fixed: Sequence[float] | None = options.get("fixed_std")
    if fixed is not None:
        return float(fixed[0])
    return float(actor["log_stds"].exp().mean()) if "log_stds" in actor else 1.0


def _diffusion_head(
    settings: AgentSettings, actor: Parameters
) -> tuple[HeadConfig, dict[str, Tensor]]:
    """Return the head's configuration and weights."""
    network = settings.options.get("score_network_kwargs", {})
    settings.require("beta_schedule", "cosine")
    settings.require("repeat_last_step", 0)
    settings.require("use_layer_norm", True, network)
    settings.require("obs_horizon", 1, settings.data)
    first = actor["reverse_network.Dense_0.kernel"].T
    width, time = len(first), 2 * len(actor["time_preprocess.kernel"])
    size = actor["reverse_network.Dense_1.kernel"].shape[1]
    chunk = int(settings.data.get("act_pred_horizon", 1))
    if size != 7 * chunk:
        raise ConfigError(f"{settings.path}: act_pred_horizon is {chunk}, the network has {size}/7")
    blocks = sum(name.endswith("LayerNorm_0.scale") for name in actor)
    config = HeadConfig(
        "diffusion", chunk=chunk, ensemble=chunk > 1, steps=int(settings.options.get("diffusion_steps", 25)),
        width=width, blocks=blocks, expansion=4, dropout=float(network.get("dropout_rate", 0.0)), time_dim=time,
            draws=1,
        clip=_CLIP, time_activation=False,
    )  # fmt: skip
    at = "head.denoiser."
    features = first.shape[1] - time - size
    weights = {
        f"{at}of_time.1.weight": first[:, :time],
        f"{at}of_features.weight": first[:, time : time + features],
        f"{at}of_features.bias": actor["reverse_network.Dense_0.bias"],
        f"{at}of_chunk.weight": first[:, time + features :],
        f"{at}frequencies": actor["time_preprocess.kernel"][:, 0],
        **linear(subtree(actor, "cond_encoder.Dense_0"), f"{at}of_time.0.0."),
        **linear(subtree(actor, "cond_encoder.Dense_1"), f"{at}of_time.0.2."),
        **linear(subtree(actor, "reverse_network.Dense_1"), f"{at}out.1."),
    }
    for i in range(blocks):
        block = subtree(actor, f"reverse_network.MLPResNetBlock_{i}")
        weights |= linear(subtree(block, "Dense_0"), f"{at}blocks.{i}.2.")
        weights |= linear(subtree(block, "Dense_1"), f"{at}blocks.{i}.4.")
        weights[f"{at}blocks.{i}.1.weight"] = block["LayerNorm_0.scale"]
        weights[f"{at}blocks.{i}.1.bias"] = block["LayerNorm_0.bias"]
    return config, weights


def _normalization(settings: AgentSettings, kind: Kind) -> NormalizeActions:
    """Return the action statistics.

    SOAR's own gcbc policies have the gripper at a level for open and its negative for closed, the others as a z-score.
    """
    settings.require("normalization_type", "normal", settings.data)
    if settings.statistics is None:
        raise ConfigError(
            f"{settings.path} has no action statistics; add ACT_MEAN and ACT_STD, 7 numbers each (0 and 1 for none)"
        )
    mean, std = settings.statistics
    level = settings.data.get("gripper_action_mean")
    if level is None and kind == "gcbc" and settings.is_robots_yaml:
        level = _GRIPPER_LEVEL
    if level is not None:
        mean, std = (*mean[:-1], 0.5), (*std[:-1], 0.5 / float(level))
    return NormalizeActions(mean, std)
