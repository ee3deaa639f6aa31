"""Parameters in the files of Flax, read without JAX: msgpack, and the folders of Orbax.

Nothing in these files is executed. A parameter's name joins the keys of its tree with dots, as in
"params.modules_actor.Dense_0.kernel".
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgpack
import torch
from torch import Tensor

from soar.errors import ConfigError

Parameters: TypeAlias = Mapping[str, Tensor]
"""Tensors by their dotted names."""

_ARRAY, _SCALAR = 1, 3
"""Flax's extension types of msgpack for an array and a scalar of numpy: its shape, dtype and bytes."""
_CHUNKED = "__msgpack_chunked_array__"
"""Key of an array that is too large for one msgpack value."""
_ELSEWHERE = "PLACEHOLDER://"
"""Beginning of a value that Orbax stores in a file of its own."""
_AGGREGATE = "checkpoint"
"""Orbax's msgpack file of the values that have no file of their own."""


def read_parameters(path: Path) -> dict[str, Tensor]:
    """Read all arrays of a msgpack file or of an Orbax folder.

    Raises:
        ConfigError: there is no such file, or it isn't one of these.
    """
    if path.is_dir():
        return _read_orbax(path)
    if not path.exists():
        raise ConfigError(f"there is no {path}; valid: a Flax msgpack file or an Orbax folder")
    return {name: value for name, value in _read_msgpack(path) if isinstance(value, Tensor)}


def subtree(parameters: Parameters, prefix: str) -> dict[str, Tensor]:
    """Return the parameters whose names begin with `prefix` and a dot, without these."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in parameters.items() if k.startswith(start)}


def agent_parameters(source: Path, which: str) -> Parameters:
    """Return an agent's parameters, or its moving averages. Raises ConfigError."""
    parameters = read_parameters(source)
    for prefix in (f"state.{which}", which, "state.params", "params"):
        if found := subtree(parameters, prefix):
            return found
    raise ConfigError(f"{source} holds no agent: it has no 'state.{which}'")


def _read_msgpack(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                tree = msgpack.unpackb(data, ext_hook=_array, strict_map_key=False)
        except (ValueError, TypeError, RuntimeError, msgpack.UnpackException) as error:
            raise ConfigError(f"{path} is no msgpack file of Flax ({error!s:.80})") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} is no msgpack file of Flax: it holds no tree of arrays")
    yield from _leaves(tree)


def _array(code: int, data: bytes) -> Tensor:
    if code not in (_ARRAY, _SCALAR):
        raise ValueError(f"a value of type {code}")
    shape, dtype, content = msgpack.unpackb(data)
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise ValueError(f"an array of {dtype!s:.20}")
    if not content:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(content), dtype=kind).reshape(shape)


def _leaves(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if not isinstance(value, dict):
            yield name, value
        elif _CHUNKED in value:
            chunks = [value["chunks"][str(i)] for i in range(len(value["chunks"]))]
            shape = [value["shape"][str(i)] for i in range(len(value["shape"]))]
            yield name, torch.cat(chunks).reshape(shape)
        else:
            yield from _leaves(value, f"{name}.")


def _read_orbax(folder: Path) -> dict[str, Tensor]:
    """Read arrays from Orbax's aggregate file, and those in stores of their own with tensorstore."""
    aggregate = folder / _AGGREGATE
    found = dict(_read_msgpack(aggregate)) if aggregate.is_file() else {}
    parameters = {name: v for name, v in found.items() if isinstance(v, Tensor)}
    elsewhere = any(isinstance(v, str) and v.startswith(_ELSEWHERE) for v in found.values())
    if elsewhere or not parameters:
        parameters |= dict(_read_tensorstore(folder))
    if not parameters:
        raise ConfigError(
            f"{folder} has no parameters; valid: a Flax msgpack file, or the folder of an Orbax checkpoint"
        )
    return parameters


def _read_tensorstore(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the arrays of Orbax's stores: one for all (OCDBT), or a folder for each."""
    one = (folder / "manifest.ocdbt").exists()
    if not one and not any(folder.glob("*/.zarray")):
        return
    try:
        import tensorstore
    except ImportError as error:
        raise ConfigError(
            f"{folder} is an Orbax checkpoint, which tensorstore reads: pip install tensorstore"
        ) from error
    where = f"file://{folder.resolve()}/"
    store: dict[str, Any] = {"driver": "ocdbt", "base": where} if one else {}
    names = (
        [k.decode() for k in tensorstore.KvStore.open(store).result().list().result()]
        if one
        else [str(p.relative_to(folder)) for p in folder.glob("*/.zarray")]
    )
    for name in sorted(n.removesuffix("/.zarray") for n in names if n.endswith("/.zarray")):
        kvstore = {**store, "path": f"{name}/"} if one else f"{where}{name}/"
        array = tensorstore.open({"driver": "zarr", "kvstore": kvstore}).result().read().result()
        yield name, _to_tensor(array)


def _to_tensor(array: Any) -> Tensor:
    """Convert a numpy array; bfloat16, which numpy lacks, exactly to float32."""
    exact = array.astype("float32") if array.dtype.name == "bfloat16" else array
    return torch.from_numpy(exact.copy())
