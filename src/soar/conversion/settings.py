"""Settings that come with the released policies and critics: a run's JSON, or a robot's YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soar.errors import ConfigError
from soar.nn.sentences import Sentences
from soar.policies.encoders import EncoderConfig
from soar.utils.files import Json
from soar.utils.yaml_files import read_plain

ENCODERS: Mapping[str, tuple[tuple[int, ...], bool]] = {
    "resnetv1-18": ((2, 2, 2, 2), False),
    "resnetv1-34": ((3, 4, 6, 3), False),
    "resnetv1-50": ((3, 4, 6, 3), True),
}
"""Blocks of each stage by the encoder's name without its ending, and whether they are bottlenecks."""
DIM = 512
"""Length of MUSE's embeddings."""
_ENDINGS = ("", "-bridge", "-bridge-film")
_GRIPPER = 6
"""Index of the gripper in an action."""
_USUAL: Mapping[str, Any] = {
    "pooling_method": "avg", "norm": "group", "use_multiplicative_cond": False, "use_spatial_softmax": False
}  # fmt: skip
"""Settings of the encoder that aren't converted, and their only valid values."""


@dataclass(frozen=True)
class AgentSettings:
    """Settings of a released agent."""

    path: Path
    """The file, for messages."""
    agent: str
    """Name of its algorithm, such as "gc_bc"."""
    encoder: EncoderConfig
    options: Mapping[str, Any]
    """Its own settings, `agent_kwargs`."""
    data: Mapping[str, Any]
    """Settings of its data set."""
    text: str
    """Name of its sentence encoder, such as "muse_embedding"; "" for none."""
    resolution: int | None
    """Height and width of its images [px], where they are given."""
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None
    """Mean and standard deviation of its actions, where they are given."""
    is_robots_yaml: bool = False
    """Whether these are SOAR's settings of a robot, not those of a training run."""

    def require(self, name: str, valid: Any, options: Mapping[str, Any] | None = None) -> None:
        """Refuse another value of a setting. Raises ConfigError."""
        found = (self.options if options is None else options).get(name, valid)
        if found != valid:
            raise ConfigError(f"{self.path}: {name} is {found}; convertible: {valid}")


def read_settings(path: Path) -> AgentSettings:
    """Read the JSON of a training run, as from Weights & Biases, or the YAML of the paper's robots.

    Raises:
        ConfigError: it isn't one of these, or its encoder can't be converted.
    """
    data = read_plain(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no settings; valid: a run's config.json, a robot's YAML")
    found = {k: _bare(v) for k, v in data.items()}
    agent = found.get("agent", found.get("policy_class"))
    encoder: Any = found.get("encoder")
    kwargs = found.get("encoder_kwargs") or {}
    if isinstance(encoder, dict):
        kwargs = encoder.get("config") or {}
        encoder = encoder.get("type")
    if not isinstance(agent, str) or not isinstance(encoder, str):
        raise ConfigError(f"{path} lacks the keys 'agent' (or 'policy_class') and 'encoder'")
    resolution = found.get("image_size")
    return AgentSettings(
        path=path,
        agent=agent,
        encoder=_encoder(path, encoder, kwargs),
        options=found.get("agent_kwargs") or {},
        data=found.get("dataset_kwargs") or {},
        text=str(found.get("text_processor") or ""),
        resolution=resolution if isinstance(resolution, int) else None,
        statistics=_statistics(path, found),
        is_robots_yaml="policy_class" in found,
    )


def _bare(value: Json) -> Any:
    """Return the value of an entry as Weights & Biases writes it: {"desc": ..., "value": ...}."""
    if isinstance(value, dict) and "value" in value and value.keys() <= {"desc", "value"}:
        return value["value"]
    return value


def _encoder(path: Path, name: str, options: Mapping[str, Any]) -> EncoderConfig:
    ending = next((e for e in reversed(_ENDINGS) if name.endswith(e)), "")
    kind = name.removesuffix(ending)
    if kind not in ENCODERS:
        valid = ", ".join(f"{k}-bridge" for k in ENCODERS)
        raise ConfigError(f"{path}: encoder '{name}' can't be converted; convertible: {valid}")
    for key, valid in _USUAL.items():
        if options.get(key, valid) != valid:
            raise ConfigError(f"{path}: {key} is {options[key]}; convertible: {valid}")
    activation = options.get("act", "relu")
    if activation not in ("relu", "swish"):
        raise ConfigError(f"{path}: act is {activation}; convertible: relu, swish")
    depths, bottleneck = ENCODERS[kind]
    filters = int(options.get("num_filters", 64))
    return EncoderConfig(
        "bridge",
        widths=tuple(filters * 2**i for i in range(len(depths))),
        depths=depths,
        bottleneck=bottleneck,
        coordinates=bool(options.get("add_spatial_coordinates", False)),
        activation=activation,
    )


def _statistics(
    path: Path, found: Mapping[str, Any]
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and standard deviation of the actions."""
    try:
        inner = found["bridgedata_config"]["action_proprio_metadata"]["action"]
        mean, std = inner["mean"], inner["std"]
    except (KeyError, TypeError):
        mean, std = found.get("ACT_MEAN"), found.get("ACT_STD")
    if mean is None or std is None:
        return None
    if len(mean) != _GRIPPER + 1 or len(std) != _GRIPPER + 1:
        raise ConfigError(f"{path}: the action statistics need 7 numbers each")
    return tuple(map(float, mean)), tuple(map(float, std))


def known_sentences(settings: AgentSettings, sentences: Sentences | None) -> Sentences:
    """Return the embeddings for an agent of MUSE. Raises ConfigError: it has another encoder, or they are missing."""
    if settings.text != "muse_embedding":
        raise ConfigError(
            f"{settings.path}: the sentence encoder '{settings.text}' can't be converted; convertible: muse_embedding"
        )
    if sentences is None:
        raise ConfigError(
            "this model takes MUSE embeddings, which can't be made here; name a file of them with --vectors"
        )
    if sentences.vectors.shape[1] != DIM:
        raise ConfigError(
            f"the sentences' vectors have {sentences.vectors.shape[1]} numbers; MUSE's have {DIM}"
        )
    return sentences
