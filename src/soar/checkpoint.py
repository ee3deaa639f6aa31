"""Checkpoints: weights with the configuration, transforms and provenance that belong to them.

On disk a checkpoint is a folder with `checkpoint.json` and the weights file that the JSON names. The weights are
written first and the JSON is moved into place last, so that a reader sees the old checkpoint or the new one, never a
mixture. Loading executes no code: the formats are safetensors and JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from soar.contract.contract import WIDOWX, Contract
from soar.errors import CheckpointError, ConfigError, SoarError
from soar.utils.config import from_plain, to_plain
from soar.utils.files import (
    Json,
    os_problem,
    public_name,
    read_bytes,
    read_text,
    write_bytes,
    write_json,
)

if TYPE_CHECKING:  # importing torch takes seconds, and a robot's process needs none
    from torch import Tensor, nn

T = TypeVar("T")

FORMAT = 1
MAX_MANIFEST_BYTES = 2**24
"""Size of the largest `checkpoint.json`."""
MAX_HEADER_BYTES = 10**8
"""Size of the largest header of a weights file, as in safetensors."""
_PARTS: Mapping[str, type] = {
    "format": int, "id": str, "weights": str, "kind": str, "config": dict, "transforms": list, "provenance": dict,
}  # fmt: skip
"""Keys of `checkpoint.json` and their types."""
MANIFEST = "checkpoint.json"
_SPARE_TENSORS, _SPARE_NUMBERS = 1000, 2**26
"""Parameters of a model that a checkpoint needn't hold, such as those of a sentence encoder."""
RENAMED: Mapping[str, str] = {
    "gazes": "attention_points",
    "gaze_weight": "attention_weight",
    "feel": "proprioception_dim",
    "pace_m": "min_motion_m",
    "imagined_goals": "generated_goals",
    "tone": "tone_curve",
    "expose": "auto_exposure",
    "soften": "goal_blur",
    "sight": "input_resolution",
    "wide": "coarse_width",
    "vector": "condition_dim",
    "foresee": "predict_keypoints",
    "taught_from": "finetuned_from",
}
"""Names in checkpoints of earlier versions and their current names, for `load`.

They are keys of the config, transforms and provenance, or values of "name" in them.
"""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained model as plain data."""

    kind: str
    """Kind of model: "gcbc", "lcbc", "vlm", "subgoals"..."""
    weights: Mapping[str, Tensor]
    config: Mapping[str, Json]
    """Configuration that builds the model."""
    transforms: tuple[Mapping[str, Json], ...] = ()
    """Transforms of training and serving, normalization statistics included."""
    provenance: Mapping[str, Json] = field(default_factory=dict)
    """Origin of the weights: store version, query, seed, code version, step."""
    id: str = ""
    """Hash of all of the above, which `save` computes and `load` checks."""
    contract: Contract = WIDOWX
    """Meaning of the actions, states and images that it learned from. The WidowX's isn't written: it is the default."""

    def model_config(self, kind: type[T], data: Json = None) -> T:
        """Build the model's configuration from the checkpoint's, or from a part of it.

        Raises:
            CheckpointError: it has other settings than `kind`.
        """
        try:
            return from_plain(kind, self.config if data is None else data, f"checkpoint {self.id}")
        except ConfigError as error:
            raise CheckpointError(f"this version can't build the model of {error}") from error


def save(folder: str | Path, checkpoint: Checkpoint) -> str:
    """Write a checkpoint atomically, in place of an existing one, and return its id. Raises FileError."""
    from safetensors.torch import save as serialize

    folder = Path(folder)
    data = serialize({k: v.detach().cpu().contiguous() for k, v in checkpoint.weights.items()})
    manifest = _manifest(checkpoint)
    id = _content_hash(manifest, data)
    weights = f"weights-{id}.safetensors"
    write_bytes(folder / weights, data)
    write_json(folder / MANIFEST, {"id": id, "weights": weights, **manifest})
    for old in folder.glob("weights-*.safetensors"):
        if old.name != weights:
            old.unlink(missing_ok=True)
    return id


def load(folder: str | Path, kind: str | None = None) -> Checkpoint:
    """Read a checkpoint, with its weights on the CPU.

    Raises:
        CheckpointError: there is none, it is damaged, or it is of another `kind`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as deserialize

    folder = Path(folder)
    text, data = _read(folder)
    manifest = _parse(folder, text)
    id = manifest.pop("id")
    del manifest["weights"]
    if kind is not None and manifest["kind"] != kind:
        raise CheckpointError(f"{folder} holds a '{manifest['kind']}' checkpoint, not '{kind}'")
    if _content_hash(manifest, data) != id:
        raise CheckpointError(f"{folder} is damaged: its content doesn't match its id {id}")
    try:
        tensors = deserialize(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder} is damaged: its weights can't be read: {error}") from error
    return Checkpoint(
        kind=manifest["kind"],
        weights=tensors,
        config=_present_names(manifest["config"]),
        transforms=tuple(_present_names(manifest["transforms"])),
        provenance=_present_names(manifest["provenance"]),
        id=id,
        contract=_contract(folder, manifest.get("contract")),
    )


def exists(folder: str | Path) -> bool:
    """Whether the folder holds a checkpoint."""
    return (Path(folder) / MANIFEST).is_file()


@contextlib.contextmanager
def building(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn every error of building a model from a checkpoint's settings into a CheckpointError.

    A model that is much larger than the checkpoint's weights is such an error, before its memory is used.
    """
    try:
        with _limited_size(checkpoint):
            yield
    except SoarError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckpointError(
            f"this version can't build the model of checkpoint {checkpoint.id}: {problem}"
        ) from error


@contextlib.contextmanager
def _limited_size(checkpoint: Checkpoint) -> Iterator[None]:
    """Raise ValueError for modules whose parameters are more than the checkpoint's weights can be."""
    from torch.nn.modules import module as modules

    tensors, numbers = checkpoint.weights, sum(w.numel() for w in checkpoint.weights.values())
    left = {"tensors": 2 * len(tensors) + _SPARE_TENSORS, "numbers": 2 * numbers + _SPARE_NUMBERS}

    def count(_: nn.Module, name: str, value: Tensor | None) -> None:
        if value is not None:
            left["tensors"] -= 1
            left["numbers"] -= value.numel()
        if min(left.values()) < 0:
            raise ValueError(f"it would be far larger than its weights, from '{name}' on")

    hooks = (
        modules.register_module_parameter_registration_hook(count),
        modules.register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def load_weights(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's weights into a module built from its configuration, in the module's precision.

    Raises:
        CheckpointError: a key is missing or unknown, or a shape differs; the message names the first.
    """
    expected = module.state_dict()
    weights = {present_key(module, k): v for k, v in checkpoint.weights.items()}
    where = f"checkpoint {checkpoint.id or checkpoint.kind}"
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            raise CheckpointError(f"{where} lacks '{name}', which the model needs")
        if name not in expected:
            raise CheckpointError(f"{where} holds '{name}', which the model doesn't have")
        found, needed = tuple(weights[name].shape), tuple(expected[name].shape)
        if found != needed:
            raise CheckpointError(f"{where}: '{name}' has shape {found}, the model needs {needed}")
    module.load_state_dict(weights)


def present_key(module: nn.Module, key: str) -> str:
    """Translate a state-dict key of an earlier version into the key that `module` uses now.

    A module class that renamed attributes (submodules, parameters or buffers) declares it, and checkpoints of
    either version load, wherever an instance is nested:

        class KeypointNet(nn.Module):
            RENAMED: ClassVar = {"eyes": "encoder"}  # old attribute: new attribute

    An old name must not be in use for something else in the same class.
    """
    from torch import nn

    name, dot, rest = key.partition(".")
    name = getattr(module, "RENAMED", {}).get(name, name)
    child = getattr(module, name, None)
    return f"{name}{dot}{present_key(child, rest) if isinstance(child, nn.Module) else rest}"


def to_half_precision(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with float16 weights, half the size on disk."""
    weights = {k: v.half() if v.is_floating_point() else v for k, v in checkpoint.weights.items()}
    return replace(checkpoint, weights=weights, id="")


_FITTED = ("temperature",)
"""Numbers of configurations that training determines, as it does weights."""


def mean_of(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """Return the mean of the weights of models that began with the same ones ("model soups", Wortsman et al. 2022).

    It is computed in single precision and kept in the first one's. Configuration, transforms and provenance (without
    what was measured) are the first one's; a fitted number (a VLM's temperature) is the geometric mean.

    Raises:
        CheckpointError: they are other models, or fewer than two.
    """
    import torch

    fitted = {n for n in _FITTED if all(n in c.config for c in checkpoints)}
    models = [
        ({k: v for k, v in c.config.items() if k not in fitted}, c.kind, c.transforms, c.contract,
         {n: w.shape for n, w in c.weights.items()})
        for c in checkpoints
    ]  # fmt: skip
    if len(models) < 2 or any(model != models[0] for model in models):
        raise CheckpointError(
            f"no mean of {', '.join(c.id for c in checkpoints) or 'nothing'}; valid: two models or more of the same "
            "kind, configuration and transforms"
        )
    first = checkpoints[0]
    means = {
        name: torch.stack([c.weights[name].float() for c in checkpoints]).mean(0).to(weight.dtype)
        for name, weight in first.weights.items()
    }
    own = {k: v for k, v in first.provenance.items() if k != "held_out"}  # measured of another
    provenance = {**own, "mean_of": [c.id for c in checkpoints]}
    means_of = {n: math.prod(c.config[n] for c in checkpoints) ** (1 / len(models)) for n in fitted}
    config = {**first.config, **means_of}
    return replace(first, weights=means, config=config, provenance=provenance, id="")


def _manifest(checkpoint: Checkpoint) -> dict[str, Json]:
    manifest: dict[str, Json] = {
        "format": FORMAT,
        "kind": checkpoint.kind,
        "config": dict(checkpoint.config),
        "transforms": [dict(t) for t in checkpoint.transforms],
        "provenance": dict(checkpoint.provenance),
    }
    if checkpoint.contract != WIDOWX:
        manifest["contract"] = to_plain(checkpoint.contract)
    return manifest


def _contract(folder: Path, plain: Json) -> Contract:
    if plain is None:
        return WIDOWX
    try:
        return from_plain(Contract, plain, folder / MANIFEST)
    except ConfigError as error:
        raise CheckpointError(f"this version can't read the contract of {error}") from error


def _present_names(value: Json) -> Json:
    if isinstance(value, list):
        return [_present_names(v) for v in value]
    if not isinstance(value, dict):
        return value
    renamed = {RENAMED.get(k, k): _present_names(v) for k, v in value.items()}
    if renamed.get("name") in RENAMED:
        renamed["name"] = RENAMED[renamed["name"]]
    return renamed


def _content_hash(manifest: Mapping[str, Json], weights: bytes) -> str:
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode())
    digest.update(hashlib.sha256(weights).digest())
    return digest.hexdigest()[:12]


def _read(folder: Path, attempts: int = 3) -> tuple[str, bytes]:
    """Read a manifest and its weights; retries if a writer replaces them meanwhile."""
    if not exists(folder):
        raise CheckpointError(
            f"no checkpoint in {public_name(folder)}: it has no {MANIFEST}; packaged models: compact, gcbc, lcbc"
        )
    for _ in range(attempts):
        try:
            text = read_text(folder / MANIFEST, MAX_MANIFEST_BYTES)
        except ConfigError as error:
            raise CheckpointError(str(error)) from error
        weights = folder / _parse(folder, text)["weights"]
        try:
            if weights.exists():
                return text, _read_weights(weights)
        except FileNotFoundError:
            continue
        except OSError as error:  # such as a name that is too long
            raise CheckpointError(f"{folder} can't be read: {os_problem(error)}") from error
    raise CheckpointError(f"{folder} is damaged: its weights file {weights.name} is missing")


def _read_weights(path: Path) -> bytes:
    """Read a weights file of the size that its header states. Raises CheckpointError, FileNotFoundError."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if path.is_file() and path.stat().st_size != _stated_size(path):
        raise CheckpointError(f"{path} is damaged: its size isn't the one that its header states")
    try:
        return read_bytes(path, memory // 2)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _stated_size(path: Path) -> int | None:
    """Return the size that a safetensors file's header states; None if it can't be read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            return None
        try:
            header = json.loads(file.read(length))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
            return 8 + length + int(max(ends, default=0))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return None


def _parse(folder: Path, text: str) -> dict[str, Json]:
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / MANIFEST} is damaged: {error}") from error
    if not isinstance(manifest, dict) or manifest.keys() - {"contract"} != _PARTS.keys():
        raise CheckpointError(f"{folder / MANIFEST} is no checkpoint: it needs {sorted(_PARTS)}")
    for name, kind in _PARTS.items():
        if not isinstance(manifest[name], kind):
            raise CheckpointError(
                f"{folder / MANIFEST} is damaged: '{name}' isn't of type {kind.__name__}"
            )
    if manifest["format"] != FORMAT:
        raise CheckpointError(
            f"{folder} has checkpoint format {manifest['format']}; this version reads {FORMAT}"
        )
    if not all(isinstance(t, dict) for t in manifest["transforms"]):
        raise CheckpointError(f"{folder / MANIFEST} is damaged: a transform isn't of type dict")
    if manifest["weights"] in ("", "..") or "\0" in (name := manifest["weights"]) or "/" in name:
        raise CheckpointError(
            f"{folder / MANIFEST} is damaged: 'weights' names no file of its folder"
        )
    return dict(manifest)
