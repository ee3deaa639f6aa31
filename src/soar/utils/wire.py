"""Arrays in messages between programs: msgpack as openpi and vla-eval write it, and JSON as OpenVLA's clients do.

    openpi      msgpack  {b"__ndarray__": True, b"data": ..., b"dtype": "<f4", b"shape": ...}, scalars b"__npgeneric__"
    vla-eval    msgpack  {"__ndarray__": True, "data": ..., "dtype": ..., "shape": ...}, images "__image__" (PNG, JPEG)
    json-numpy  JSON     {"__numpy__": base64, "dtype": "<f4", "shape": [...]}

All three are read wherever one of them is expected, and nothing of a message is ever executed. Decoded arrays are
read-only views of the message.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeGuard

import msgpack
import numpy as np
from numpy.typing import NDArray

from soar.errors import ConfigError
from soar.utils.media import decode_image

Dialect: TypeAlias = Literal["openpi", "vla-eval"]
Message: TypeAlias = Any
"""What a message holds: dictionaries, lists, text, bytes, numbers and arrays."""

_KINDS = "biufSU"
"""Kinds of arrays that are sent and read: bool, integers, floats, bytes and text; no objects, structs or complex."""


def pack(message: Message, dialect: Dialect = "openpi") -> bytes:
    """Encode a message with its arrays as msgpack. Raises ConfigError: it has an array of objects, say."""
    encode = _openpi if dialect == "openpi" else _vla_eval
    try:
        return bytes(msgpack.packb(message, default=encode))
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"can't be sent: {error}") from error


def unpack(data: bytes) -> Message:
    """Decode msgpack of any dialect. Raises ConfigError: it is damaged, or holds what isn't read."""
    try:
        return msgpack.unpackb(data, object_hook=_decoded, strict_map_key=False)
    except (
        ValueError, TypeError, KeyError, OverflowError, msgpack.exceptions.UnpackException
    ) as error:  # fmt: skip
        raise ConfigError(f"no message in msgpack: {' '.join(str(error).split()):.200}") from None


def to_json(message: Message) -> str:
    """Encode a message as JSON, with arrays as json-numpy writes them."""
    return json.dumps(message, default=_json_numpy)


def from_json(text: str | bytes) -> Message:
    """Decode JSON with json-numpy's arrays. Raises ConfigError: it is damaged, or holds what isn't read."""
    try:
        return json.loads(text, object_hook=_decoded)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ConfigError(f"no message in JSON: {' '.join(str(error).split()):.200}") from None


def _openpi(value: object) -> object:
    if isinstance(value, np.ndarray):
        parts = _parts(value)
        return {b"__ndarray__": True, **{k.encode(): v for k, v in parts.items()}}
    if isinstance(value, np.generic):
        kind = _checked(value.dtype).str
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": kind}
    raise TypeError(f"a {type(value).__name__} isn't data")


def _vla_eval(value: object) -> object:
    if isinstance(value, np.ndarray):
        return {"__ndarray__": True, **_parts(value)}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} isn't data")


def _json_numpy(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        data = base64.b64encode(array.tobytes()).decode()
        return {"__numpy__": data, "dtype": _checked(array.dtype).str, "shape": array.shape}
    raise TypeError(f"a {type(value).__name__} isn't data")


def _parts(array: NDArray[Any]) -> dict[str, object]:
    kind = _checked(array.dtype).str
    return {"data": array.tobytes(), "dtype": kind, "shape": array.shape}


def _decoded(part: dict[Any, Any]) -> object:
    """An array where a dictionary stands for one. Raises ValueError, TypeError, KeyError."""
    marks = {_text(k) for k in part if isinstance(k, str | bytes) and len(k) < 16}
    if not marks & {"__ndarray__", "__npgeneric__", "__numpy__", "__image__"}:
        return part
    named = {_text(k): v for k, v in part.items()}
    if "__image__" in named and named["format"] != "raw":
        return decode_image(named["data"], ("PNG", "JPEG"))
    if "__npgeneric__" in named:
        return _dtype(named["dtype"]).type(named["data"])
    data = named["data"] if "__numpy__" not in named else base64.b64decode(named["__numpy__"])
    return _array(data, named["dtype"], named["shape"])


def _array(data: object, kind: object, shape: Sequence[int]) -> NDArray[Any]:
    dtype, sizes = _dtype(kind), tuple(int(n) for n in shape)
    if not isinstance(data, bytes) or any(n < 0 for n in sizes):
        raise ValueError("an array's data are bytes, and its shape counts from 0")
    if len(data) != math.prod(sizes) * dtype.itemsize:
        raise ValueError(f"{len(data)} bytes are no {dtype} of shape {sizes}")
    return np.frombuffer(data, dtype).reshape(sizes) if data else np.zeros(sizes, dtype)


def _dtype(kind: object) -> np.dtype[Any]:
    if not isinstance(kind, str):
        raise ValueError("an array's dtype is text such as '<f4'")
    return _checked(np.dtype(kind))


def _checked(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind not in _KINDS:
        raise ValueError(f"arrays of {dtype} aren't sent")
    return dtype


def _text(key: Any) -> Any:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else key


def is_mapping(message: Message) -> TypeGuard[Mapping[str, Any]]:
    """Whether a message is a dictionary with text as keys, as requests are."""
    return isinstance(message, Mapping) and all(isinstance(k, str) for k in message)
