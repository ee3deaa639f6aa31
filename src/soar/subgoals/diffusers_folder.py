"""InstructPix2Pix pipelines in folders of diffusers: their parts, and what is wrong with a folder that can't be used.

Only weights and settings are read. Code that a folder names, its safety checker and its sampling settings are not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch

from soar.errors import ConfigError
from soar.utils.files import Json, local_path, read_json
from soar.utils.hub import HUB

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_MODELS = ("unet", "vae", "text_encoder")
_FAMILY = ("InstructPix2PixPipeline", "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
"""Endings of pipeline classes with the parts of Stable Diffusion 1 and 2, told apart by the U-Net's channels."""
_NOISE_SCHEDULE = frozenset({
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr", "clip_sample", "clip_sample_range", "set_alpha_to_one", "steps_offset",
    "timestep_spacing", "thresholding", "dynamic_thresholding_ratio", "sample_max_value",
})  # fmt: skip
"""Settings of a scheduler that belong to the model; the others choose a sampler, some of them a random one."""
_LORA = ("pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin", "adapter_config.json")
_POINTER = b"version https://git-lfs"


class _UnusableError(Exception):
    """The reason why a folder can't be used."""


def load_pipeline(source: str | Path, dtype: torch.dtype) -> Any:
    """Load a pipeline without a safety checker.

    Args:
        source: a folder in diffusers format, or a hub id.
        dtype: of the weights.

    Raises:
        ConfigError: it can't be used; the message names the cause in one line.
    """
    try:
        folder = _local(source)
        index = _index(folder)
        _check_parts(folder, index)
        variant = _variant(folder)
        _check_settings(folder)
        return _assemble(folder, variant, dtype)
    except _UnusableError as cause:
        raise ConfigError(
            f"'{source}' is no InstructPix2Pix model that can be used: {cause}"
        ) from cause


def noise_schedule(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a scheduler that the model was trained with, without those of its sampler.

    Latents are not clipped unless a setting says so: files of schedulers that never clip don't mention it.
    """
    kept = {name: value for name, value in config.items() if name in _NOISE_SCHEDULE}
    return {"clip_sample": False, **kept}


def _local(source: str | Path) -> Path:
    """The folder, or the downloaded snapshot of a hub id."""
    folder = local_path(str(source)) if str(source).startswith(HUB) else Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise _UnusableError(
            "it is one file; convert it to a folder with diffusers' from_single_file and save_pretrained"
        )
    from diffusers import StableDiffusionInstructPix2PixPipeline

    problem = ""
    for variant in (None, "fp16"):
        try:
            found = StableDiffusionInstructPix2PixPipeline.download(str(source), variant=variant)
        except Exception as error:  # noqa: BLE001 (the hub's client raises many types)
            problem = problem or f"{type(error).__name__}: {' '.join(str(error).split()):.120}"
        else:
            return Path(found)
    raise _UnusableError(
        f"there is no such folder, and the hub gave none ({problem}); valid: a folder in diffusers format, a hub id"
    )


def _index(folder: Path) -> Mapping[str, Json]:
    """The folder's list of parts."""
    path = folder / "model_index.json"
    if not path.exists():
        _explain_missing_index(folder)
    index = _json(path)
    name = str(index.get("_class_name", ""))
    if "XL" in name or not name.endswith(_FAMILY):
        raise _UnusableError(
            f"its pipeline is {name or 'unnamed'}; valid: StableDiffusionInstructPix2PixPipeline"
        )
    return index


def _explain_missing_index(folder: Path) -> NoReturn:
    """Raise with the reason why a folder has no model_index.json."""
    names = {p.name for p in folder.iterdir()}
    if any((folder / name).exists() for name in _LORA):
        cause = "it has LoRA weights only; merge them into their base model (fuse_lora) and save the whole pipeline"
    elif "unet" in names or {"config.json", "diffusion_pytorch_model.safetensors"} <= names:
        cause = "it is a trainer's checkpoint with the U-Net alone; save the whole pipeline (save_pretrained)"
    elif checkpoints := sorted(n for n in names if n.startswith("checkpoint-")):
        cause = (
            f"it has trainer's checkpoints ({checkpoints[-1]}) and no pipeline; "
            "save the whole pipeline (save_pretrained)"
        )
    elif any(n.endswith((".safetensors", ".ckpt")) for n in names):
        cause = "it has a checkpoint in one file; convert it with diffusers' from_single_file and save_pretrained"
    elif any(n.endswith(".msgpack") for n in names):
        cause = "it has Flax weights; save them for PyTorch (from_flax=True, save_pretrained)"
    else:
        cause = "it has no model_index.json, which a folder in diffusers format begins with"
    raise _UnusableError(cause)


def _check_parts(folder: Path, index: Mapping[str, Json]) -> None:
    """Refuse missing parts, and weights that aren't there or in another form."""
    missing = [p for p in PARTS if not (folder / p).is_dir() or not index.get(p)]
    if missing:
        raise _UnusableError(f"these parts are missing: {', '.join(missing)}")
    encoder = index["text_encoder"]
    if isinstance(encoder, list) and encoder[-1] not in ("CLIPTextModel", "FlaxCLIPTextModel"):
        raise _UnusableError(f"its text encoder is {encoder[-1]}; valid: CLIPTextModel")
    for part in _MODELS:
        files = list((folder / part).iterdir())
        weights = [f for f in files if f.suffix in (".safetensors", ".bin")]
        for file in weights:
            with file.open("rb") as opened:
                if opened.read(len(_POINTER)) == _POINTER:
                    raise _UnusableError(
                        f"{part}/{file.name} is a git-lfs pointer without its file; run git lfs pull"
                    )
        if not weights:
            flax = any(f.suffix == ".msgpack" for f in files)
            raise _UnusableError(
                f"{part} has Flax weights only; save them for PyTorch (from_flax=True, save_pretrained)"
                if flax
                else f"{part} has no weights (.safetensors or .bin)"
            )


def _variant(folder: Path) -> dict[str, str | None]:
    """Variant of each part's weights, such as "fp16"; None where there are plain ones."""
    return {part: _variant_of((folder / part).iterdir(), part) for part in _MODELS}


def _variant_of(files: Iterable[Path], part: str) -> str | None:
    names = [f.name.split("-0")[0] for f in files if f.suffix in (".safetensors", ".bin")]
    variants = {n.split(".")[1] if n.count(".") > 1 else None for n in names}
    if None in variants or not variants:
        return None
    if len(variants) > 1:
        raise _UnusableError(
            f"{part} has several variants of its weights and no plain ones: {sorted(map(str, variants))}"
        )
    return next(iter(variants))


def _check_settings(folder: Path) -> None:
    """Refuse a model of another kind by its settings, before its weights are read."""
    unet, vae, text, scheduler = (
        _json(folder / part / name)
        for part, name in (
            ("unet", "config.json"), ("vae", "config.json"), ("text_encoder", "config.json"),
            ("scheduler", "scheduler_config.json"),
        )
    )  # fmt: skip
    channels, latents = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    if channels != 2 * latents:
        kind = {latents: ": a text-to-image model", 2 * latents + 1: ": an inpainting model"}
        raise _UnusableError(
            f"its U-Net takes {channels} channels, not {2 * latents} (noise and image)"
            f"{kind.get(channels, '')}"
        )
    width, words = unet.get("cross_attention_dim", 1280), text.get("hidden_size", 512)
    if width != words:
        raise _UnusableError(
            f"its U-Net expects words of width {width}, but its text encoder gives {words}"
        )
    name, predicts = (
        str(scheduler.get("_class_name", "")),
        scheduler.get("prediction_type", "epsilon"),
    )
    if "FlowMatch" in name or predicts not in ("epsilon", "v_prediction", "sample"):
        what = name if "FlowMatch" in name else f"prediction_type {predicts}"
        raise _UnusableError(
            f"its scheduler file is of flow matching ({what}); valid: epsilon, v_prediction or sample on a noise"
            " schedule with betas"
        )


def _assemble(folder: Path, variants: Mapping[str, str | None], dtype: torch.dtype) -> Any:
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionInstructPix2PixPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel, CLIPTokenizer

    kinds: Mapping[str, Any] = {
        "unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel,
    }  # fmt: skip
    loaded = {}
    for part, kind in kinds.items():
        loaded[part] = _loaded(part, kind, folder, variant=variants[part]).to(dtype)
    tokenizer = _loaded("tokenizer", CLIPTokenizer, folder)
    longest = loaded["text_encoder"].config.max_position_embeddings
    tokenizer.model_max_length = min(tokenizer.model_max_length, longest)
    schedule = noise_schedule(_json(folder / "scheduler" / "scheduler_config.json"))
    try:
        scheduler = DDIMScheduler.from_config(schedule)
    except Exception as error:
        raise _UnusableError(f"its noise schedule can't be used ({error!s:.100})") from error
    return StableDiffusionInstructPix2PixPipeline(
        **loaded,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _loaded(part: str, kind: Any, folder: Path, **options: Any) -> Any:
    """One part of the pipeline, from local files only."""
    try:
        return kind.from_pretrained(folder / part, local_files_only=True, **options)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise _UnusableError(
            f"{part} can't be loaded ({type(error).__name__}: {reason:.150})"
        ) from error


def _json(path: Path) -> Mapping[str, Json]:
    try:
        if path.read_bytes()[: len(_POINTER)] == _POINTER:
            raise _UnusableError(
                f"{path.name} is a git-lfs pointer without its file; run git lfs pull"
            )
        found = read_json(path)
    except OSError as error:
        raise _UnusableError(f"{path.parent.name}/{path.name} can't be read") from error
    except ConfigError as error:
        raise _UnusableError(f"{path.parent.name}/{path.name} is no JSON") from error
    if not isinstance(found, Mapping):
        raise _UnusableError(f"{path.parent.name}/{path.name} is no JSON object")
    return found
