"""A person's labels in a CSV file, as other editors write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from soar.errors import ConfigError
from soar.vlm.labels import read_labels, write_labels

TEXT = "id,instruction,success\r\na,put the \u00e4pple away,yes\r\nb,,NO\r\n"


def test_labels_are_read_as_written_and_as_saved_by_a_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write_labels(path, {"a": True, "b": False, "c": None}, {})
    assert read_labels(path) == {"a": True, "b": False, "c": None}
    for data in (TEXT.encode(), TEXT.encode("utf-8-sig"), TEXT.replace("\r", "").encode()):
        path.write_bytes(data)
        assert read_labels(path) == {"a": True, "b": False}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TEXT.encode("latin-1"), "no text in UTF-8"),
        (TEXT.encode("utf-16"), "no text in UTF-8"),
        (b"id;success\na;yes\n", "needs the columns id and success"),
        (b"", "needs the columns id and success"),
        (b"id,success\na,maybe\n", r"line 2: success must be yes, no or unsure, not 'maybe'"),
        (b"id,success\na\n", r"line 2: success must be yes, no or unsure, not ''"),
        (b"id,success\na," + b"y" * 200_000 + b"\n", "no CSV file: field larger"),
        (b"PK\x03\x04\xff", "no text in UTF-8"),
    ],
)
def test_labels_that_cannot_be_read_are_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "labels.csv").write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        read_labels(tmp_path / "labels.csv")


def test_a_folder_in_place_of_the_labels_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no regular file"):
        read_labels(tmp_path)
