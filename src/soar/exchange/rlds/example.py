"""The `tf.train.Example` message: named lists of bytes, of float32 or of int64 numbers.

    Example.features = 1; Features.feature = 1 (a map: key = 1, value = 2)
    Feature: bytes_list = 1, float_list = 2, int64_list = 3; each list: value = 1

Only three wire types occur: varint (0), length-delimited (2) and 32 bits (5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Int64

from soar.errors import ConfigError

Feature: TypeAlias = Sequence[bytes] | Float32[np.ndarray, "_n"] | Int64[np.ndarray, "_n"]
"""A list of byte strings, or a vector of numbers."""
_BYTES, _FLOATS, _INTS = 1, 2, 3
_VARINT, _DELIMITED, _FIXED32 = 0, 2, 5


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """Encode features, sorted by name, so that equal ones give equal bytes."""
    entries = []
    for name in sorted(features):
        entry = _field(1, name.encode()) + _field(2, _encode_feature(features[name]))
        entries.append(_field(1, entry))
    return _field(1, b"".join(entries))


def decode_example(data: bytes) -> dict[str, Feature]:
    """Decode an example. Raises ConfigError: the bytes are no such message."""
    features: dict[str, Feature] = {}
    try:
        for message in _delimited(memoryview(data), 1):
            for entry in _delimited(message, 1):
                name = bytes(next(_delimited(entry, 1))).decode()
                value = next(_delimited(entry, 2), memoryview(b""))
                features[name] = _decode_feature(value)
    except (ValueError, IndexError, StopIteration, OverflowError) as error:
        raise ConfigError(f"a record is no tf.train.Example ({error})") from error
    return features


def _encode_feature(feature: Feature) -> bytes:
    if not isinstance(feature, np.ndarray):
        return _field(_BYTES, b"".join(_field(1, item) for item in feature))
    if feature.dtype == np.float32:
        return _field(_FLOATS, _field(1, feature.astype("<f4").tobytes()))
    return _field(_INTS, _field(1, b"".join(_varint(int(n) & 2**64 - 1) for n in feature)))


def _decode_feature(data: memoryview) -> Feature:
    for kind, message in _fields(data):
        if isinstance(message, int):
            continue
        if kind == _BYTES:
            return [bytes(item) for item in _delimited(message, 1)]
        if kind == _FLOATS:
            return _floats(message)
        if kind == _INTS:
            return _ints(message)
    return []


def _floats(message: memoryview) -> Float32[np.ndarray, "_n"]:
    """Decode a packed list of floats, or one with a tag before each number, as old writers make."""
    parts = [bytes(value) for _, value in _fields(message) if not isinstance(value, int)]
    return np.frombuffer(b"".join(parts), "<f4").astype(np.float32)


def _ints(message: memoryview) -> Int64[np.ndarray, "_n"]:
    numbers: list[int] = []
    for _, value in _fields(message):
        if isinstance(value, int):
            numbers.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = _read_varint(value, at)
            numbers.append(number)
    return np.array(numbers, np.uint64).astype(np.int64)


def _delimited(data: memoryview, number: int) -> Iterator[memoryview]:
    """Yield the length-delimited values of one field."""
    for found, value in _fields(data):
        if found == number and not isinstance(value, int):
            yield value


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield the fields of a message: their numbers, and their bytes or their varints."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if wire == _DELIMITED:
            length, at = _read_varint(data, at)
        elif wire == _FIXED32:
            length = 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(data):
            raise ValueError("cut short")
        yield number, data[at : at + length]
        at += length


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read a varint; return it and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 2**64 - 1, at
        shift += 7
        if shift > 63:
            raise ValueError("a varint is too long")


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _DELIMITED) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
