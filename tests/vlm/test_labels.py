"""A person's labels in a CSV file, as other editors write it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from soar.errors import ConfigError
from soar.types import EpisodeSummary, Provenance, Verdict
from soar.utils.objects import ObjectPath
from soar.vlm.labels import read_labels, update_label

TEXT = "id,instruction,success\r\na,put the \u00e4pple away,yes\r\nb,,NO\r\n"


def test_labels_are_read_as_written_and_as_saved_by_a_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    for id, success in {"a": True, "b": False, "c": None}.items():
        update_label(path, summary(id), success)
    assert read_labels(path) == {"a": True, "b": False, "c": None}
    for data in (TEXT.encode(), TEXT.encode("utf-8-sig"), TEXT.replace("\r", "").encode()):
        path.write_bytes(data)
        assert read_labels(path) == {"a": True, "b": False}


def summary(id: str) -> EpisodeSummary:
    return EpisodeSummary(
        id, "=fold it", 5, Verdict("unknown"), Provenance("s", "dev", "1", 0, 0.0)
    )


def test_labels_of_writers_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    path, ids = tmp_path / "new" / "labels.csv", [f"e{i}" for i in range(40)]
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda id: update_label(path, summary(id), True), ids))
    assert set(read_labels(path)) == set(ids)
    update_label(path, summary("e1"), None)
    update_label(path, summary("e2"), None, forget=True)
    assert read_labels(path) == {id: None if id == "e1" else True for id in ids if id != "e2"}
    assert path.read_text().count(",'=fold it,") == 39, "each keeps its instruction"


def test_labels_of_writers_in_object_storage_are_all_kept(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, others, write = ObjectPath(f"{bucket}/labels.csv"), ["b", "c"], ObjectPath.write_if

    def slowly(self: ObjectPath, *given: Any) -> Any:
        if others:
            update_label(path, summary(others.pop()), False)
        return write(self, *given)

    monkeypatch.setattr(ObjectPath, "write_if", slowly)
    assert set(update_label(path, summary("a"), True)) == {"a", "b", "c"}
    update_label(path, summary("b"), False, forget=True)
    assert read_labels(path) == {"c": False, "a": True}


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
