"""Weights of the released networks' layers by the names of PyTorch and of `soar.nn.bridge_resnet.BridgeResNet`."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from soar.conversion.flax_files import Parameters
from soar.errors import ConfigError

_LAYERS = {
    "conv_init": "stem", "norm_init": "norm", "conv_proj": "shortcut.0", "norm_proj": "shortcut.1",
}  # fmt: skip
_NUMBERED = {
    "ResNetBlock": "blocks", "BottleneckResNetBlock": "blocks", "Conv": "convs", "MyGroupNorm": "norms",
}  # fmt: skip


def resnet_weights(parameters: Parameters, prefix: str) -> dict[str, Tensor]:
    """Return the weights of an encoder.

    Args:
        parameters: those of a ResNetEncoder.
        prefix: beginning of the returned names.

    Raises:
        ConfigError: there is no encoder, or one with other layers.
    """
    if not parameters:
        raise ConfigError("the checkpoint has no encoder where the released agents have theirs")
    weights = {}
    for name, value in parameters.items():
        if not name.startswith("FilmConditioning_"):
            weights[prefix + _name(name)] = value.permute(3, 2, 0, 1) if value.ndim == 4 else value
    film = "FilmConditioning_{}.Dense_{}.{}"
    for i in range(sum(n.startswith("FilmConditioning") for n in parameters) // 4):
        for ours, theirs in (("weight", "kernel"), ("bias", "bias")):
            parts = [parameters[film.format(i, j, theirs)] for j in (0, 1)]  # scale and shift
            joined = torch.cat(parts, -1)
            weights[f"{prefix}films.{i}.affine.{ours}"] = joined.T if joined.ndim == 2 else joined
    return weights


def linear(layer: Parameters, name: str) -> dict[str, Tensor]:
    """Return a Flax Dense layer's weights by PyTorch's names."""
    if layer.keys() != {"kernel", "bias"}:
        raise ConfigError(f"the checkpoint lacks the layer of {name.rstrip('.')}")
    return {f"{name}weight": layer["kernel"].T, f"{name}bias": layer["bias"]}


def _name(name: str) -> str:
    *path, last = name.split(".")
    parts = []
    for part in path:
        numbered = re.fullmatch(r"(\w+)_(\d+)", part)
        if part in _LAYERS:
            parts.append(_LAYERS[part])
        elif numbered and numbered[1] in _NUMBERED:
            parts.append(f"{_NUMBERED[numbered[1]]}.{numbered[2]}")
        else:
            raise ConfigError(f"the encoder has a layer '{part}', which can't be converted")
    return ".".join([*parts, "weight" if last in ("kernel", "scale") else last])
