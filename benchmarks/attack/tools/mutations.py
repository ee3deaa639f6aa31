"""Damaged and hostile variants of a file's bytes."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from soar import checkpoint as checkpoints

Rng: TypeAlias = np.random.Generator
CANARY = "SOAR_CANARY"
"""Name of the file that a hostile file's code would make."""


class Payload:
    """An object whose unpickling makes the canary."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(CANARY),)


def mutate(rng: Rng, path: Path) -> str:
    """Replace a file by a variant, and say in a word how."""
    data = path.read_bytes()
    if rng.random() < 0.05:
        return _no_file(rng, path)
    structural = _STRUCTURAL.get(path.suffix)
    if structural and rng.random() < 0.5:
        name, new = structural.__name__, structural(rng, data)
    else:
        change = _CHANGES[rng.integers(len(_CHANGES))]
        name, new = change.__name__, change(rng, data)
    path.write_bytes(new)
    return name.strip("_")


def sign_again(folder: Path) -> None:
    """Give a changed checkpoint the id of its content, so that more than the id is checked."""
    path = folder / "checkpoint.json"
    if not all(p.is_file() for p in folder.iterdir()):
        return  # a pipe or device can't be read
    try:
        manifest = json.loads(path.read_bytes())
        named = folder / manifest["weights"]
        weights = named.read_bytes() if named.is_file() else b""  # it may name a device
        content = {k: v for k, v in manifest.items() if k not in ("id", "weights")}
        manifest["id"] = checkpoints._content_hash(content, weights)
        path.write_text(json.dumps(manifest))
    except (ValueError, TypeError, LookupError, AttributeError, OSError, RecursionError):
        return  # then the id is wrong


def _no_file(rng: Rng, path: Path) -> str:
    """Put something else in a file's place."""
    import os

    path.unlink()
    kind = rng.integers(5)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to("/dev/zero")
    elif kind == 3:
        path.symlink_to(path)
    return ("folder", "pipe", "device", "link to itself", "missing")[kind]


def _flipped(rng: Rng, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 20))):
        if changed:
            changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut(rng: Rng, data: bytes) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def _hole(rng: Rng, data: bytes) -> bytes:
    start, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 200))
    return data[:start] + data[start + length :]


def _zeros(rng: Rng, data: bytes) -> bytes:
    start, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 4096))
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def _noise(rng: Rng, data: bytes) -> bytes:
    start = int(rng.integers(len(data) + 1))
    return data[:start] + rng.bytes(int(rng.integers(1, 300))) + data[start:]


def _doubled(rng: Rng, data: bytes) -> bytes:
    start, end = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    return data[:end] + data[start:]


def _empty(rng: Rng, data: bytes) -> bytes:
    return b""


def _other_encoding(rng: Rng, data: bytes) -> bytes:
    return data.decode("latin-1").encode(("utf-16", "utf-32", "utf-8")[rng.integers(3)])


def _number(rng: Rng, data: bytes) -> bytes:
    """Replace one number in text by an extreme one."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:200_000]))
    if not found:
        return _flipped(rng, data)
    match = found[rng.integers(len(found))]
    new = (b"-1", b"0", b"1e400", b"-0.0", b"9" * 40, b"NaN", b"4294967296", b"1" * 5000)
    return data[: match.start()] + new[rng.integers(len(new))] + data[match.end() :]


def _whole(rng: Rng, data: bytes) -> bytes:
    """A hostile file in place of the whole."""
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (n, n, *[n - 1] * 8)
        for n in range(98, 108)
    )
    objects = io.BytesIO()
    np.savez(objects, images=np.array([Payload()], object))
    one = io.BytesIO()
    np.save(one, np.array([Payload()], object))
    wholes = (
        b"!!python/object/apply:os.system ['touch " + CANARY.encode() + b"']\n",
        bomb,
        b"[" * 100_000,
        b'{"a":' * 20_000,
        pickle.dumps(Payload()),
        objects.getvalue(),
        one.getvalue(),
        b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65535,
        b"\xff" * 5000,
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"7",
        b"\n" * 100_000,
        (2**63 - 1).to_bytes(8, "little") + b"{}",
    )
    return wholes[rng.integers(len(wholes))]


_CHANGES: tuple[Callable[[Rng, bytes], bytes], ...] = (
    _flipped, _cut, _hole, _zeros, _noise, _doubled, _empty, _other_encoding, _number, _number, _whole,
)  # fmt: skip


def _json(rng: Rng, data: bytes) -> bytes:
    """Replace, remove or add one value in JSON."""
    return json.dumps(_changed(rng, json.loads(data))).encode()


def _json_lines(rng: Rng, data: bytes) -> bytes:
    lines = data.splitlines()
    if not lines:
        return data
    at = int(rng.integers(len(lines)))
    lines[at] = _json(rng, lines[at])
    return b"\n".join(lines) + b"\n"


def _yaml(rng: Rng, data: bytes) -> bytes:
    import yaml

    text: str = yaml.safe_dump(_changed(rng, yaml.safe_load(data)), allow_unicode=True)
    return text.encode()


def _changed(rng: Rng, value: Any) -> Any:
    """Change one value somewhere in plain data."""
    inside = list(value.items()) if isinstance(value, dict) else []
    inside = list(enumerate(value)) if isinstance(value, list) else inside
    if not inside or rng.random() < 0.15:
        return _HOSTILE[rng.integers(len(_HOSTILE))]
    key, child = inside[rng.integers(len(inside))]
    copy = value.copy()
    kind = rng.integers(8)
    if kind == 0:
        del copy[key]
    elif kind == 1 and isinstance(copy, dict):
        copy["unknown key"] = child
    elif kind == 1:
        copy.append(child)
    else:
        copy[key] = _changed(rng, child)
    return copy


_HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1.5, float("nan"), float("inf"), "", "x", "success\n", "x" * 100_000, [], {},
    [None], {"": None}, [[[[[]]]]], "../../etc/passwd", "/dev/zero", "\0", "\ud800", "\x1b[2J", "python:os:abort",
    "os:abort", ["a"] * 1000, {"name": "x"}, -1e308, 2**63, "nan",
)  # fmt: skip


def _safetensors(rng: Rng, data: bytes) -> bytes:
    """Change one value of the header, and keep the tensors."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(_changed(rng, json.loads(data[8 : 8 + length]))).encode()
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _npy(rng: Rng, data: bytes) -> bytes:
    file = io.BytesIO()
    np.save(file, _array(rng, np.load(io.BytesIO(data))), allow_pickle=True)
    return file.getvalue()


def _npz(rng: Rng, data: bytes) -> bytes:
    """Change, remove or add one array, or name a file elsewhere."""
    with np.load(io.BytesIO(data)) as loaded:
        arrays = dict(loaded)
    name = list(arrays)[rng.integers(len(arrays))]
    kind = rng.integers(6)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays["unknown"] = arrays[name]
    else:
        arrays[name] = _array(rng, arrays[name])
    file = io.BytesIO()
    np.savez(file, **arrays)
    if kind == 2:
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../escaped.npy", bytes(10_000_000))
    return file.getvalue()


def _array(rng: Rng, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    variants: tuple[Callable[[], Any], ...] = (
        lambda: array[:0],
        lambda: array[..., None],
        lambda: array.ravel(),
        lambda: array.astype("U3"),
        lambda: array.astype(object),
        lambda: np.array([Payload()], object),
        lambda: np.concatenate([array, array]) if array.ndim else array,
        lambda: np.zeros(()),
        lambda: np.full(array.shape, np.nan),
        lambda: np.full(array.shape, -(2**31), np.int64),
        lambda: np.zeros(array.shape, [("a", "i4")]),
    )
    changed: np.ndarray[Any, Any] = variants[rng.integers(len(variants))]()
    return changed


_STRUCTURAL: Mapping[str, Callable[[Rng, bytes], bytes]] = {
    ".json": _json, ".jsonl": _json_lines, ".yaml": _yaml, ".safetensors": _safetensors, ".npy": _npy, ".npz": _npz,
}  # fmt: skip
