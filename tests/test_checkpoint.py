"""Checkpoints on disk."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from soar import checkpoint
from soar.checkpoint import Checkpoint
from soar.errors import CheckpointError, FileError


def make(value: float = 1.0) -> Checkpoint:
    weights = {"weight": torch.full((2, 3), value), "bias": torch.zeros(2)}
    return Checkpoint("toy", weights, {"width": 3}, ({"name": "resize", "size": 64},), {"seed": 1})


def test_a_saved_checkpoint_loads_unchanged(tmp_path: Path) -> None:
    id = checkpoint.save(tmp_path / "a", make())
    loaded = checkpoint.load(tmp_path / "a", "toy")
    assert loaded.id == id
    assert torch.equal(loaded.weights["weight"], make().weights["weight"])
    assert loaded.config == {"width": 3}
    assert loaded.transforms == ({"name": "resize", "size": 64},)
    assert loaded.provenance == {"seed": 1}


def test_the_id_depends_on_content_alone(tmp_path: Path) -> None:
    a, b, c = (checkpoint.save(tmp_path / n, make(v)) for n, v in (("a", 1), ("b", 1), ("c", 2)))
    assert a == b != c


def test_saving_again_replaces_and_leaves_no_old_weights(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, make(1))
    id = checkpoint.save(tmp_path, make(2))
    assert checkpoint.load(tmp_path).id == id
    assert len(list(tmp_path.iterdir())) == 2


def test_an_interrupted_save_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = checkpoint.save(tmp_path, make(1))

    def crash(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, make(2))
    assert checkpoint.load(tmp_path).id == id


def test_damage_is_detected(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, make())
    weights = next(tmp_path.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="damaged: its content doesn't match"):
        checkpoint.load(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"weights file .* is missing"):
        checkpoint.load(tmp_path)


def test_folders_without_a_valid_checkpoint_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        checkpoint.load(tmp_path)
    checkpoint.save(tmp_path, make())
    with pytest.raises(CheckpointError, match="holds a 'toy' checkpoint, not 'gcbc'"):
        checkpoint.load(tmp_path, "gcbc")
    path = tmp_path / checkpoint.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99; this version reads 1"):
        checkpoint.load(tmp_path)
    path.write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.load(tmp_path)


def test_weights_that_do_not_fit_are_named() -> None:
    with pytest.raises(CheckpointError, match=r"'weight' has shape \(2, 3\), .* needs \(2, 4\)"):
        checkpoint.load_weights(nn.Linear(4, 2), make())
    with pytest.raises(CheckpointError, match="holds 'bias', which the model doesn't have"):
        checkpoint.load_weights(nn.Linear(3, 2, bias=False), make())


class Renamed(nn.Module):
    """A linear layer at `head`, which an earlier version called `hand`."""

    RENAMED: ClassVar = {"hand": "head"}

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)


def test_weights_of_renamed_attributes_load_wherever_the_module_is_nested() -> None:
    layer, outer = nn.Linear(3, 2), nn.Sequential(nn.ModuleDict({"inner": Renamed()}))
    for name in ("hand", "head"):
        weights = {f"0.inner.{name}.{k}": v for k, v in layer.state_dict().items()}
        checkpoint.load_weights(outer, Checkpoint("toy", weights, {}))
        assert torch.equal(outer.state_dict()["0.inner.head.weight"], layer.weight)


def test_renamed_settings_load_under_their_present_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "RENAMED", {"width": "channels", "resize": "scale"})
    id = checkpoint.save(tmp_path, make())
    loaded = checkpoint.load(tmp_path)
    assert loaded.id == id
    assert loaded.config == {"channels": 3}
    assert loaded.transforms == ({"name": "scale", "size": 64},)


def test_float16_weights_load_into_a_float32_model(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, checkpoint.to_half_precision(make()))
    layer = nn.Linear(3, 2)
    checkpoint.load_weights(layer, checkpoint.load(tmp_path))
    assert layer.weight.dtype == torch.float32
    assert torch.equal(layer.weight, make().weights["weight"])


def _manifest(folder: Path, **changes: object) -> Path:
    """Save a checkpoint, change its `checkpoint.json`, and return its weights file."""
    checkpoint.save(folder, make())
    path = folder / checkpoint.MANIFEST
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, **changes}))
    return folder / found["weights"]


@pytest.mark.parametrize("name", ["/dev/zero", "../weights", "..", "", "a\0b", "/etc/passwd", 3])
def test_weights_outside_of_the_folder_are_refused(tmp_path: Path, name: object) -> None:
    _manifest(tmp_path, weights=name)
    with pytest.raises(CheckpointError, match="is damaged: 'weights'"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("make_file", [os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p)])
def test_weights_that_are_no_regular_file_are_refused_at_once(
    tmp_path: Path, make_file: Callable[[Path], None]
) -> None:
    weights = _manifest(tmp_path)
    weights.unlink()
    make_file(weights)
    with pytest.raises(CheckpointError, match="is no regular file"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("size", [0, 7, 100, 10**13])
def test_weights_of_another_size_than_their_header_states_are_refused_unread(
    tmp_path: Path, size: int
) -> None:
    weights = _manifest(tmp_path)
    with weights.open("r+b") as file:
        file.truncate(size)
    with pytest.raises(CheckpointError, match="size isn't the one that its header states"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"config": 3}, {"transforms": "no"}, {"transforms": [1]}, {"kind": None}, {"provenance": []}],
)
def test_parts_of_a_wrong_type_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    _manifest(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=r"is damaged: .* isn't of type"):
        checkpoint.load(tmp_path)


def test_weights_that_safetensors_refuses_are_named_as_damage(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}'
    data = len(header).to_bytes(8, "little") + header + bytes(4)
    manifest = checkpoint._manifest(make())
    id = checkpoint._content_hash(manifest, data)
    (tmp_path / "w.safetensors").write_bytes(data)
    about = {"id": id, "weights": "w.safetensors", **manifest}
    (tmp_path / checkpoint.MANIFEST).write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="its weights can't be read"):
        checkpoint.load(tmp_path)


def test_settings_that_no_model_can_be_built_of_are_one_line(tmp_path: Path) -> None:
    def absurd() -> None:
        with checkpoint.building(make()):
            nn.Linear(2**50, 2**50)

    with pytest.raises(CheckpointError, match=r"can't build the model of checkpoint .*Error"):
        absurd()


def test_a_full_disk_leaves_the_old_checkpoint_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = checkpoint.save(tmp_path, make(1))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"weights-.* can't be written: the disk is full"):
        checkpoint.save(tmp_path, make(2))
    assert checkpoint.load(tmp_path).id == id
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("layers", [[2**24], [8] * 5000], ids=["one huge", "very many"])
def test_a_model_far_larger_than_its_weights_is_refused_before_it_takes_memory(
    layers: list[int],
) -> None:
    loaded = Checkpoint("toy", make().weights, {}, id="abc")
    with pytest.raises(CheckpointError, match="far larger than its weights"):  # noqa: SIM117
        with checkpoint.building(loaded):
            nn.ModuleList([nn.Linear(width, 8) for width in layers])


def test_the_limit_of_a_models_size_ends_with_the_building() -> None:
    with checkpoint.building(make()):
        nn.Linear(3, 2)
    assert len(nn.ModuleList([nn.Linear(2, 2) for _ in range(1500)])) == 1500


def test_weights_of_a_name_that_is_too_long_are_one_line(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, make())
    manifest = json.loads((tmp_path / "checkpoint.json").read_text())
    (tmp_path / "checkpoint.json").write_text(json.dumps({**manifest, "weights": "w" * 300}))
    with pytest.raises(CheckpointError, match="can't be read"):
        checkpoint.load(tmp_path)
