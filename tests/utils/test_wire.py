"""Messages between programs: the dialects are those of the real packages, and nothing hostile is believed."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from soar.errors import ConfigError
from soar.utils.media import encode_png
from soar.utils.wire import from_json, pack, to_json, unpack

KINDS = ["uint8", "<i4", "<f4", "<f8", ">i2", "bool"]
ARRAYS = st.sampled_from(KINDS).flatmap(
    lambda kind: arrays.arrays(
        kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    )
)
OPENPI_ZEROS = (
    b"\x81\xa7actions\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x08\x00\x00\x00\x00\x00\x00\x80?"
    b"\xc4\x05dtype\xa3<f4\xc4\x05shape\x92\x01\x02"
)
"""What `openpi_client.msgpack_numpy.packb({"actions": np.array([[0, 1]], np.float32)})` of version 0.1.2 gives."""


def same(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dialect", ["openpi", "vla-eval"])
@settings(max_examples=30, deadline=None)
@given(array=ARRAYS)
def test_arrays_arrive_as_they_were_sent(dialect: Any, array: Any) -> None:
    back = unpack(pack({"a": [array], "b": "words"}, dialect))
    assert same(back["a"][0], array)
    assert back["b"] == "words"


@settings(max_examples=30, deadline=None)
@given(array=ARRAYS)
def test_json_carries_arrays_as_json_numpy_does(array: Any) -> None:
    assert same(from_json(to_json({"image": array}))["image"], array)


def test_the_bytes_are_openpis() -> None:
    actions = np.array([[0, 1]], np.float32)
    assert pack({"actions": actions}) == OPENPI_ZEROS
    assert same(unpack(OPENPI_ZEROS)["actions"], actions)


def test_scalars_keep_their_type_with_openpi() -> None:
    back = unpack(pack({"reward": np.float32(0.5), "done": np.bool_(True)}))
    assert type(back["reward"]) is np.float32
    assert back["done"] == np.True_


def test_images_of_vla_eval_are_decoded() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    sent = {"__image__": True, "format": "png", "data": encode_png(image), "shape": [4, 4, 3]}
    assert np.array_equal(unpack(msgpack.packb({"i": sent}))["i"], image)


@pytest.mark.parametrize(
    "part",
    [
        {b"__ndarray__": True, b"data": b"12", b"dtype": "O", b"shape": [1]},
        {b"__ndarray__": True, b"data": b"12345678", b"dtype": "<f4", b"shape": [2**40, 2**30]},
        {b"__ndarray__": True, b"data": b"1234", b"dtype": "<f4", b"shape": [-1]},
        {b"__ndarray__": True, b"data": "1234", b"dtype": "<f4", b"shape": [1]},
        {b"__ndarray__": True, b"data": b"1234", b"dtype": [["a", "<f4"]], b"shape": [1]},
        {b"__ndarray__": True},
        {"__image__": True, "format": "png", "data": b"no picture"},
        {b"__npgeneric__": True, b"data": 1, b"dtype": "nonsense"},
    ],
)
def test_what_is_no_array_is_refused(part: dict[Any, Any]) -> None:
    with pytest.raises(ConfigError, match=r"no message|no image"):
        unpack(msgpack.packb({"x": part}))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81\xa1a", b"\x92\x01", b"\xdf\xff\xff\xff\xff"])
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match="no message"):
        unpack(data)


def test_what_is_no_data_is_not_sent() -> None:
    for value in (object(), np.array([object()]), np.array([1j])):
        with pytest.raises(ConfigError, match="can't be sent"):
            pack({"x": value})
