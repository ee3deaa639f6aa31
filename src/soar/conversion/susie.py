"""SuSIE as its authors released it (kvablack/susie), as a folder in diffusers format with its sampler.

The release is a U-Net for Flax; text encoder, autoencoder and tokenizer are those of Stable Diffusion 1.5, for Flax or
for PyTorch. What the authors' sampler does is a scheduler of `soar.subgoals.sampler`.
"""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from soar.conversion.flax_files import Parameters, read_parameters, subtree
from soar.errors import ConfigError
from soar.subgoals.sampler import SUSIE
from soar.subgoals.susie import SAMPLER
from soar.utils.config import to_plain
from soar.utils.files import Json, read_json, write_json

_NOISE_SCHEDULE = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000,
    "prediction_type": "epsilon", "clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "leading",
    "steps_offset": 0,
}  # fmt: skip
"""The only noise schedule of the release."""
_FLAX_FILES = ("diffusion_flax_model.msgpack", "flax_model.msgpack")
_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of Flax's attention in the autoencoder, and diffusers' present ones."""
_LATENT_CHANNELS = 4
_EMA = ("params_ema", "state.params_ema", "params")
"""Subtrees of the U-Net's parameters in a training state, the first of which is used."""


def convert_susie(source: Path, base: Path, out: Path) -> None:
    """Write the pipeline.

    Args:
        source: the release: a folder with `unet/`, or that folder itself, of Flax (msgpack) or Orbax.
        base: Stable Diffusion 1.5's folder, for Flax or for PyTorch.
        out: the folder to write; it appears when it is complete.

    Raises:
        ConfigError: a part is missing, or isn't of this architecture.
    """
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionInstructPix2PixPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    folder = source / "unet" if (source / "unet").is_dir() else source
    parameters = _unet_parameters(folder)
    settings = {**_settings(folder), "in_channels": _input_channels(folder, parameters)}
    unet = _filled(UNet2DConditionModel, settings, parameters, folder)
    vae = _part(AutoencoderKL, base / "vae")
    text = base / "text_encoder"
    encoder = (
        _filled_text_encoder(CLIPTextModel, CLIPTextConfig(**_settings(text)), text)
        if _flax_file(text)
        else CLIPTextModel.from_pretrained(text, local_files_only=True)
    )
    tokenizer = CLIPTokenizer.from_pretrained(_existing(base / "tokenizer"), local_files_only=True)
    StableDiffusionInstructPix2PixPipeline(
        vae=vae, text_encoder=encoder, tokenizer=tokenizer, unet=unet, scheduler=DDIMScheduler(**_NOISE_SCHEDULE),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(str(partial))  # fmt: skip
    write_json(partial / SAMPLER, to_plain(SUSIE))
    partial.rename(out)


def _unet_parameters(folder: Path) -> Parameters:
    file = _flax_file(_existing(folder))
    found = read_parameters(file or folder)
    for prefix in _EMA:
        if inner := subtree(found, prefix):
            return inner
    return found


def _input_channels(folder: Path, parameters: Parameters) -> int:
    """Return the channels that the U-Net's first convolution really takes."""
    kernel = parameters.get("conv_in.kernel")
    if kernel is None:
        raise ConfigError(f"{folder} holds no U-Net of diffusers: conv_in.kernel is missing")
    channels = kernel.shape[2]
    if channels != 2 * _LATENT_CHANNELS:
        raise ConfigError(
            f"{folder} holds a U-Net of {channels} input channels; valid: 8, the noise and the observation"
        )
    return channels


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}")
    return folder


def _flax_file(folder: Path) -> Path | None:
    return next((folder / name for name in _FLAX_FILES if (folder / name).exists()), None)


def _settings(folder: Path) -> dict[str, Any]:
    """Return a part's settings, without those of its loader."""
    path = _existing(folder) / "config.json"
    found: Json = read_json(path) if path.exists() else None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is missing; it holds the size of the network")
    return {k: v for k, v in found.items() if not k.startswith("_") and k != "architectures"}


def _part(kind: Any, folder: Path) -> Any:
    """Load a diffusers model from Flax's or PyTorch's weights."""
    if file := _flax_file(_existing(folder)):
        return _filled(kind, _settings(folder), read_parameters(file), folder)
    return kind.from_pretrained(folder, local_files_only=True)


def _filled(kind: Any, settings: Mapping[str, Any], parameters: Parameters, folder: Path) -> Any:
    """Build a diffusers model with Flax's parameters."""
    with torch.device("meta"):
        model = kind.from_config(_known(kind, settings))
    names = {_spelling(_renamed(k)): v for k, v in parameters.items()}
    _load(model, {k: names.get(_spelling(k)) for k in model.state_dict()}, folder)
    return model


def _known(kind: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the PyTorch class has, too; Flax has others for its own precision and memory."""
    return {k: v for k, v in settings.items() if k in inspect.signature(kind).parameters}


def _filled_text_encoder(kind: Any, config: Any, folder: Path) -> Any:
    """Build CLIP's text encoder with Flax's parameters."""
    model = kind(config)
    file = _flax_file(folder)
    assert file is not None
    names = {_spelling(_renamed(k)): v for k, v in read_parameters(file).items()}
    names |= {k.removeprefix("text_model."): v for k, v in names.items()}
    _load(model, {k: names.get(_spelling(k)) for k in model.state_dict()}, folder)
    return model


def _renamed(name: str) -> str:
    """Return PyTorch's name of a parameter: its last part, and that of the autoencoder's attention."""
    *path, last = name.split(".")
    path = [_VAE_ATTENTION.get(p, p) if path[0] in ("encoder", "decoder") else p for p in path]
    return ".".join([*path, "weight" if last in ("kernel", "scale", "embedding") else last])


def _spelling(name: str) -> str:
    """Return a name in which "blocks_0" and "blocks.0" are the same."""
    return re.sub(r"_(\d+)(?=\.|$)", r".\1", name)


def _load(model: nn.Module, found: Mapping[str, Tensor | None], folder: Path) -> None:
    """Give a model its weights, with the axes in PyTorch's order."""
    weights = {}
    for name, needed in model.state_dict().items():
        value = found[name]
        if value is None:
            raise ConfigError(f"{folder} lacks the parameter of {name}")
        if value.ndim == 4:
            value = value.permute(3, 2, 0, 1)
        elif value.ndim == 2 and "embedding" not in name.rsplit(".", 2)[-2]:
            value = value.T
        if value.shape != needed.shape and value.numel() == needed.numel():
            value = value.reshape(needed.shape)  # 1x1 convolutions that Flax has as linear layers
        if value.shape != needed.shape:
            raise ConfigError(
                f"{folder}: {name} has shape {tuple(value.shape)}, the network needs {tuple(needed.shape)}"
            )
        weights[name] = value.float().contiguous()
    model.load_state_dict(weights, assign=True)
