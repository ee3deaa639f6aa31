"""Small files that are replaced whole, and lines that are appended whole."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from soar.errors import ConfigError, FileError
from soar.utils.files import (
    append_lines,
    read_bytes,
    read_json,
    read_lines,
    read_text,
    replace_file,
    write_bytes,
)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_full_disk_is_one_line_and_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    write_bytes(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"page\.html can't be written: the disk is full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["page.html"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with replace_file(tmp_path / "a") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


WRITER = """
import sys, time
from pathlib import Path
from soar.utils.files import replace_file
with replace_file(Path(sys.argv[1])) as file:
    file.write(bytes(10**6))
    print("writing", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_is_removed_by_the_next_one_and_what_a_running_one_writes_is_not(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a")]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    write_bytes(tmp_path / "b", b"b")
    assert len(names(tmp_path)) == 2
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    write_bytes(tmp_path / "b", b"b")
    assert names(tmp_path) == ["b"]


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(FileError, match="no regular file"):
            write_bytes(path, b"")
    with pytest.raises(FileError, match="can't be written: File exists"):
        write_bytes(Path("/dev/null/page.html"), b"")


def test_only_regular_files_of_a_limited_size_are_read_and_none_is_waited_for(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(11))
    began = time.monotonic()
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="no regular file"):
            read_bytes(path)
    for path in (tmp_path / "missing", tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(ConfigError, match=r"is missing|can't be read"):
            read_bytes(path)
    with pytest.raises(ConfigError, match="too large; valid: up to 10 bytes"):
        read_bytes(tmp_path / "large", 10)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "data", [b"{", b"\xff\xfe{\0}\0", b"\xe9", b"[" * 10**5, b"9" * 5000, b"", b"nul"]
)
def test_what_is_no_json_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"a\.json is (damaged|no text)"):
        read_json(path)
    path.write_bytes(data + b"\n")
    if data:
        with pytest.raises(ConfigError, match=r"a\.json is (damaged|no text)"):
            read_lines(path)


@pytest.mark.parametrize("line", ["3", "[]", "null", '"text"'])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "log.jsonl").write_text(f'{{"a": 1}}\n{line}\n')
    with pytest.raises(ConfigError, match="is no JSON object"):
        read_lines(tmp_path / "log.jsonl")


def test_text_of_other_editors_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffähm".encode())
    assert read_text(tmp_path / "a") == "ähm"
    (tmp_path / "b.jsonl").write_text('{"a": "x\u2028y\x0bz"}\n'.replace("\x0b", ""))
    assert read_lines(tmp_path / "b.jsonl") == [{"a": "x\u2028yz"}]


def test_a_line_that_a_crash_cut_short_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_lines(path, [{"a": 1}])
    with path.open("a") as file:
        file.write('{"a"')
    append_lines(path, [{"a": 2}])
    assert read_lines(path) == [{"a": 1}, {"a": 2}]


def test_rows_that_a_full_disk_cuts_short_are_all_left_out(tmp_path: Path) -> None:
    path, rows = tmp_path / "log.jsonl", [{"a": i} for i in range(1000)]
    append_lines(path, [{"a": -1}])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 1000, hard))
    try:
        with pytest.raises(FileError, match=r"log\.jsonl can't be written"):
            append_lines(path, rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert read_lines(path) == [{"a": -1}]
    append_lines(path, rows)
    assert read_lines(path) == [{"a": -1}, *rows]


def test_several_writers_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"

    def write(writer: int) -> None:
        for i in range(100):
            append_lines(path, [{"a": [writer, i]}])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sorted(row["a"] for row in read_lines(path)) == [
        [w, i] for w in range(4) for i in range(100)
    ]
