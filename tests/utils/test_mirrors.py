"""Folders that are published in object storage: order, interruptions, several machines."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from soar.cli import main
from soar.data.store.lance import open_store
from soar.errors import ConfigError, FileError
from soar.utils import mirrors
from soar.utils.files import local_path, public_name, write_bytes
from soar.utils.objects import Changed, ObjectPath, local_part


@pytest.fixture
def url(bucket: str) -> str:
    return f"{bucket}/runs/lab"


def machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Go on as another machine, with a cache of its own."""
    monkeypatch.setenv("SOAR_CACHE", str(folder))


def begun(url: str, **files: bytes) -> Path:
    folder = local_part(url)
    mirrors.begin(folder)
    for name, data in files.items():
        write_bytes(folder / name, data)
    return folder


def test_caches_and_unfinished_training_stay_here(url):
    folder = begun(url, **{"run.json": b"1", "train/round-1/log.jsonl": b"{}\n"})
    for name in ("frames/a/images.npy", "train/round-1/state/weights", ".hidden", "store/x"):
        write_bytes(folder / name, b"1")
    mirrors.publish(folder)
    assert {*ObjectPath(url).tags()} == {"run.json", "train/round-1/log.jsonl"}
    assert public_name(folder / "train/round-1") == f"{url}/train/round-1"


def test_only_what_has_changed_is_uploaded_and_old_weights_are_removed(url, monkeypatch):
    old, new = (f"train/round-1/weights-{c * 12}.safetensors" for c in "ab")
    folder = begun(url, **{old: b"1", "videos/1.mp4": b"1", "run.json": b"1"})
    mirrors.publish(folder)
    (folder / old).unlink()
    write_bytes(folder / new, b"2")
    written, before = list[ObjectPath](), ObjectPath.write_bytes

    def recorded(self: ObjectPath, data: bytes | Path) -> object:
        written.append(self)
        return before(self, data)

    monkeypatch.setattr(ObjectPath, "write_bytes", recorded)
    mirrors.publish(folder / "train")
    assert written == [ObjectPath(url) / new]
    assert {*ObjectPath(url).tags()} == {new, "videos/1.mp4", "run.json"}


def test_a_publication_killed_before_its_record_leaves_the_old_one(url, tmp_path):
    folder = begun(url, **{"run.json": b"1"})
    mirrors.publish(folder)
    script = """
        import sys, time
        from pathlib import Path
        from soar.utils import mirrors
        from soar.utils.files import write_bytes
        from soar.utils.objects import ObjectPath

        before = ObjectPath.write_if

        def hanging(self, data, tag):
            if self.name == "run.json":
                print("here", flush=True)
                time.sleep(60)
            return before(self, data, tag)

        ObjectPath.write_if = hanging
        folder = Path(sys.argv[1])
        write_bytes(folder / "train/round-1/weights-0123456789ab.safetensors", b"new")
        write_bytes(folder / "train/round-1/checkpoint.json", b"new")
        write_bytes(folder / "run.json", b"2")
        mirrors.publish(folder)
    """
    words = [sys.executable, "-c", textwrap.dedent(script), str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "here\n"
        process.kill()
    assert (ObjectPath(url) / "run.json").read_bytes() == b"1"
    assert (ObjectPath(url) / "train/round-1/checkpoint.json").read_bytes() == b"new"
    mirrors.publish(folder)
    assert (ObjectPath(url) / "run.json").read_bytes() == b"2"


def test_a_record_written_by_a_killed_publication_is_its_own(url):
    folder = begun(url, **{"run.json": b"1"})
    (ObjectPath(url) / "run.json").write_bytes(b"1")
    mirrors.publish(folder)
    write_bytes(folder / "run.json", b"2")
    mirrors.publish(folder)
    assert (ObjectPath(url) / "run.json").read_bytes() == b"2"


def test_another_machine_goes_on_and_the_first_one_is_told(url, monkeypatch, tmp_path):
    folder = begun(url, **{"run.json": b"1", "trials.jsonl": b"a\n"})
    mirrors.publish(folder)
    machine(monkeypatch, tmp_path / "b")
    other = mirrors.out_folder(url)
    write_bytes(other / "trials.jsonl", b"a\nb\n")
    write_bytes(other / "run.json", b"2")
    mirrors.publish(other)
    machine(monkeypatch, tmp_path / "cache")
    write_bytes(folder / "trials.jsonl", b"mine\n")
    with pytest.raises(Changed, match="was written by someone else"):
        mirrors.publish(folder)
    assert (ObjectPath(url) / "trials.jsonl").read_bytes() == b"a\nb\n"
    with pytest.raises(Changed, match="move that folder away"):
        mirrors.out_folder(url)
    os.rename(folder, tmp_path / "aside")
    assert (mirrors.out_folder(url) / "trials.jsonl").read_bytes() == b"a\nb\n"


def test_a_copy_that_only_reads_follows(url, monkeypatch, tmp_path):
    folder = begun(url, **{"evaluation.json": b"1"})
    mirrors.publish(folder)
    for version in (b"2", b"3"):
        machine(monkeypatch, tmp_path / "cache")
        write_bytes(folder / "evaluation.json", version)
        mirrors.publish(folder)
        machine(monkeypatch, tmp_path / "reader")
        assert (local_path(url) / "evaluation.json").read_bytes() == version


def test_a_download_that_breaks_off_goes_on(url, monkeypatch, tmp_path):
    folder = begun(url, **{"log.jsonl": b"1", "run.json": b"1"})
    mirrors.publish(folder)
    read = ObjectPath.read_tagged

    def cut(self: ObjectPath) -> object:
        if self.name == "run.json":
            raise KeyboardInterrupt
        return read(self)

    with monkeypatch.context() as other:
        machine(other, tmp_path / "other")
        with other.context() as broken:
            broken.setattr(ObjectPath, "read_tagged", cut)
            with pytest.raises(KeyboardInterrupt):
                local_path(url)
    write_bytes(folder / "log.jsonl", b"1, 2")
    mirrors.publish(folder)
    machine(monkeypatch, tmp_path / "other")
    assert Path(local_path(url), "log.jsonl").read_bytes() == b"1, 2"
    assert Path(local_path(url), "run.json").read_bytes() == b"1"


def test_a_record_that_is_gone_there_is_told(url):
    folder = begun(url, **{"run.json": b"1"})
    mirrors.publish(folder)
    (ObjectPath(url) / "run.json").unlink()
    write_bytes(folder / "run.json", b"2")
    with pytest.raises(Changed, match="was removed by someone else"):
        mirrors.publish_if_reachable(folder)


def test_what_cannot_be_reached_is_published_later(url, monkeypatch, caplog):
    folder = begun(url, **{"evaluation.json": b"1", "trials.jsonl": b"a\n"})

    def away(self: ObjectPath, data: bytes) -> None:
        raise FileError(f"{self} can't be used: no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(ObjectPath, "write_bytes", away)
        mirrors.publish_if_reachable(folder)
    assert "not published yet" in caplog.text
    mirrors.publish_if_reachable(folder)
    assert {*ObjectPath(url).tags()} == {"evaluation.json", "trials.jsonl"}


def test_names_that_lead_out_of_the_folder_are_left_there(url):
    folder = begun(url, **{"run.json": b"1"})
    mirrors.publish(folder)
    (ObjectPath(url) / "a/.ssh/keys").write_bytes(b"1")
    write_bytes(folder / "run.json", b"1")
    assert not (mirrors.out_folder(url) / "a").exists()


def test_a_store_is_no_place_for_a_run(bucket, tmp_path, capsys):
    open_store(f"{bucket}/store", create=True)
    with pytest.raises(ConfigError, match="is a store; name a new URL"):
        mirrors.begin(local_part(f"{bucket}/store"))
    with pytest.raises(SystemExit):
        main(["evaluate", "--scene", "1", "--trials", "1", "--out", f"{bucket}/store"])
    assert "is a store; name a new URL" in capsys.readouterr().err
