"""V-GPS's released critics (Cal-QL or IQL with instructions) as checkpoints that steer policies.

The encoder is theirs (`soar.nn.bridge_resnet`), the rest is this package's own. Values are those of the target network,
as in their evaluation, in the units of their Bridge data. Cal-QL's actor comes along; IQL's, which isn't squashed, and
its V, which has an encoder of its own, don't.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from soar.checkpoint import Checkpoint
from soar.conversion.flax_files import Parameters, agent_parameters, subtree
from soar.conversion.layers import linear, resnet_weights
from soar.conversion.settings import AgentSettings, known_sentences, read_settings
from soar.critics.config import CriticConfig, vgps, vgps_iql
from soar.critics.critic import critic_from
from soar.critics.learning.learner import KIND
from soar.data.transforms import Resize, ToFloat, describe
from soar.errors import ConfigError
from soar.nn.sentences import Sentences
from soar.types import ACTION_DIM
from soar.utils.config import to_plain

AGENTS: Mapping[str, CriticConfig] = {
    "cql": vgps(),
    "calql": vgps(),
    "gc_iql": replace(vgps_iql(), backup="sarsa"),  # its V isn't converted
}
"""Names of the algorithms in their settings, and ours."""
RESOLUTION = 256
"""Height and width of the released critic's images [px]."""


def convert_critic(source: Path, settings: Path, sentences: Sentences | None) -> Checkpoint:
    """Return a released critic as a checkpoint.

    Args:
        source: Flax's checkpoint: a msgpack file or the folder of an Orbax checkpoint.
        settings: the JSON of its training run, or V-GPS's pretrained_checkpoint.yaml.
        sentences: embeddings of the instructions that it shall value.

    Raises:
        ConfigError: the settings are of something else, or name something that can't be converted.
    """
    found = read_settings(settings)
    if found.agent not in AGENTS:
        raise ConfigError(f"{settings} is of agent '{found.agent}'; valid: {', '.join(AGENTS)}")
    _require_usual(found)
    known = known_sentences(found, sentences)
    parts = subtree(agent_parameters(source, "target_params"), "modules_critic")
    config = _config(found, parts, known)
    weights = {
        "network.known.vectors": known.vectors,
        **resnet_weights(subtree(parts, "encoder.encoder"), "network.encoder.vision."),
        **_q_head(parts, len(config.hidden)),
    }
    if config.actor != "none":
        actor = subtree(agent_parameters(source, "params"), "modules_actor")
        weights |= resnet_weights(subtree(actor, "encoder.encoder"), "actor.encoder.vision.")
        weights |= _actor_head(actor, len(config.hidden))
    transforms = describe((Resize(config.resolution), ToFloat()))
    made = Checkpoint(
        KIND, weights, to_plain(config), transforms, {"converted_from": str(source), "agent": found.agent}
    )  # fmt: skip
    critic_from(made)  # raises an error where the weights don't fit
    return made


def _require_usual(settings: AgentSettings) -> None:
    """Refuse what V-GPS's own settings don't have. Raises ConfigError."""
    usual = {
        "language_conditioned": True, "use_proprio": False, "shared_encoder": False, "distributional_critic": False,
    }  # fmt: skip
    for name, valid in usual.items():
        settings.require(name, valid)
    for name in ("network_kwargs", "critic_network_kwargs", "policy_network_kwargs"):
        settings.require("use_layer_norm", False, settings.options.get(name, {}))
    if settings.encoder.activation != "swish":
        raise ConfigError(
            f"{settings.path}: act is {settings.encoder.activation}; convertible: swish"
        )


def _config(settings: AgentSettings, critic: Parameters, known: Sentences) -> CriticConfig:
    encoder = settings.encoder
    first = critic.get("network.Dense_0.kernel")
    if first is None:
        raise ConfigError("the checkpoint has no critic where V-GPS's agents have theirs")
    hidden = 1
    while f"network.Dense_{hidden}.kernel" in critic:
        hidden += 1
    return replace(
        AGENTS[settings.agent], encoder="bridge", resolution=settings.resolution or RESOLUTION, widths=encoder.widths,
        depths=encoder.depths, bottleneck=encoder.bottleneck, coordinates=encoder.coordinates, ensemble=len(first),
        hidden=tuple(critic[f"network.Dense_{i}.kernel"].shape[2] for i in range(hidden)), words=settings.text,
        word_dim=known.vectors.shape[1], sentences=known.sentences,
        discount=float(settings.options.get("discount", 0.98)),
    )  # fmt: skip


def _q_head(critic: Parameters, hidden: int) -> dict[str, Tensor]:
    """Return the weights of the Q functions, whose last layer theirs share."""
    weights = {}
    for i in range(hidden):
        layer = subtree(critic, f"network.Dense_{i}")
        name, kernel = f"network.q_head.layers.{i}.", layer["kernel"]
        if i == 0:
            weights[f"{name}of_features"] = kernel[:, :-ACTION_DIM]
            weights[f"{name}of_actions"] = kernel[:, -ACTION_DIM:]
        else:
            weights[f"{name}of_hidden"] = kernel
        weights[f"{name}bias"] = layer["bias"][:, None]
    last, count = subtree(critic, "Dense_0"), len(layer["bias"])
    weights[f"network.q_head.layers.{hidden}.of_hidden"] = last["kernel"].expand(count, -1, -1)
    weights[f"network.q_head.layers.{hidden}.bias"] = last["bias"].expand(count, 1, -1)
    return weights


def _actor_head(actor: Parameters, hidden: int) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for i in range(hidden):
        weights |= linear(subtree(actor, f"network.Dense_{i}"), f"actor.head.body.{2 * i}.")
    weights |= linear(subtree(actor, "Dense_0"), "actor.head.mean.")
    return weights | linear(subtree(actor, "Dense_1"), "actor.head.log_std.")
