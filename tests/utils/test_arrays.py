"""Files of arrays: whatever is wrong with one is a line that names it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soar.errors import ConfigError
from soar.utils.arrays import check_indices, map_arrays, read_arrays

LAYOUT = {"images": "u1 n r r 3", "words": "U u", "rows": "i8 n"}
GOOD = {
    "images": np.zeros((2, 4, 4, 3), np.uint8),
    "words": np.array(["a", "bc"]),
    "rows": np.arange(2),
}


def npz(**changes: Any) -> bytes:
    file = io.BytesIO()
    arrays: Any = {k: np.asarray(v) for k, v in {**GOOD, **changes}.items() if v is not None}
    np.savez(file, **arrays)
    return file.getvalue()


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(npz())
    read = read_arrays(tmp_path / "a.npz", LAYOUT)
    assert all(np.array_equal(read[name], GOOD[name]) for name in LAYOUT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        npz()[:-40],
        npz().replace(b"descr", b"desxr"),
        npz(images=np.array([None])),
        npz(images=None),
        npz(images=np.zeros((2, 4, 5, 3), np.uint8)),
        npz(images=np.zeros((2, 4, 4, 3))),
        npz(rows=np.arange(3)),
    ],
    ids=["empty", "cut", "short", "header", "objects", "missing", "not square", "type", "length"],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"a\.npz is damaged: ") as caught:
        read_arrays(path, LAYOUT)
    assert "\n" not in str(caught.value)


def test_mapped_arrays_are_checked_likewise(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rows\.npy is missing"):
        map_arrays(tmp_path, {"rows": "i8 n"})
    np.save(tmp_path / "rows.npy", np.arange(3))
    assert map_arrays(tmp_path, {"rows": "i8 n"})["rows"].tolist() == [0, 1, 2]
    (tmp_path / "rows.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(ConfigError, match=r"rows\.npy is damaged"):
        map_arrays(tmp_path, {"rows": "i8 n"})


@pytest.mark.parametrize("indices", [[-1], [0, 2]])
def test_an_index_out_of_range_is_damage(indices: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"within 0\.\.1"):
        check_indices(Path("a.npz"), np.array(indices), 2)


def test_an_archive_or_objects_in_place_of_one_array_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    with path.open("wb") as file:
        np.savez(file, rows=np.arange(3))
    with pytest.raises(ConfigError, match=r"rows\.npy is damaged"):
        map_arrays(tmp_path, {"rows": "i8 n"})
    np.save(path, np.array([{}, 1], object), allow_pickle=True)
    with pytest.raises(ConfigError, match=r"rows\.npy is damaged"):
        map_arrays(tmp_path, {"rows": "i8 n"})
