"""A store, a published checkpoint and a published folder at gs:// and az://."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from object_storage import AZURITE, azurite, google_storage
from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.data.store.lance import open_store
from soar.data.store.verify import sweep, verify
from soar.exchange.hub.push import push_to_objects
from soar.types import Verdict
from soar.utils import mirrors, objects
from soar.utils.files import local_path, write_bytes
from soar.utils.objects import Changed, ObjectPath, local_part


@pytest.fixture(scope="module")
def google(tmp_path_factory) -> Iterator[tuple[str, dict[str, str]]]:
    with google_storage(tmp_path_factory.mktemp("google")) as found:
        yield found


@pytest.fixture(scope="module")
def azure() -> Iterator[tuple[str, dict[str, str]]]:
    if not (AZURITE / "main.js").exists():
        pytest.skip("needs Azurite: make test-exchange")
    with azurite() as found:
        yield found


@pytest.fixture(params=["google", "azure"])
def url(request, monkeypatch, tmp_path) -> str:
    found, environment = request.getfixturevalue(request.param)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    objects._opened.cache_clear()
    return f"{found}/{request.node.originalname}"


def test_a_store_keeps_its_promises(url, make_episode, same):
    store = open_store(url, create=True, codec="png")
    ids = [store.append(make_episode(seed)) for seed in range(2)]
    assert same(store.load(ids[1]), make_episode(1))

    def write(k: int) -> list[str]:
        other = open_store(url, create=True)
        return [other.append(make_episode(10 * k + i, steps=1)) for i in range(2)]

    with ThreadPoolExecutor(3) as pool:
        ids += [id for found in pool.map(write, range(3)) for id in found]
    assert sorted(ids) == sorted(s.id for s in store.query())
    store.set_verdict(ids[0], Verdict("failure", 0.1, "", "no", "person"))
    assert store.summary(ids[0]).verdict.outcome == "failure"
    lost = store.root / "steps/20260101/20260101-000000-0123456789.lance"
    lost.write_bytes(b"without a row")
    assert sweep(store, older_than_s=0).removed == (lost,)
    assert [f for f in verify(store, workers=1) if f.problem] == []


def test_of_two_publishers_of_a_checkpoint_one_is_told(url, tmp_path, monkeypatch):
    for size, name in enumerate("abc", 3):
        checkpoints.save(tmp_path / name, Checkpoint("gcbc", {"w": torch.zeros(size)}, {}))
    push_to_objects(tmp_path / "a", url)
    before = ObjectPath.write_bytes

    def meanwhile(self: ObjectPath, data: bytes | Path) -> object:
        monkeypatch.setattr(ObjectPath, "write_bytes", before)
        push_to_objects(tmp_path / "b", url)
        return before(self, data)

    monkeypatch.setattr(ObjectPath, "write_bytes", meanwhile)
    with pytest.raises(Changed, match="was written by someone else meanwhile"):
        push_to_objects(tmp_path / "c", url)
    assert checkpoints.load(local_path(url)).weights["w"].shape == (4,)


def test_a_folder_is_published_and_continued(url, tmp_path, monkeypatch):
    folder = local_part(url)
    mirrors.begin(folder)
    write_bytes(folder / "videos/1.mp4", b"video")
    for version in (b"1", b"2"):
        write_bytes(folder / "run.json", version)
        mirrors.publish(folder)
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "elsewhere"))
    other = mirrors.out_folder(url)
    assert (other / "run.json").read_bytes() == b"2"
    assert (other / "videos/1.mp4").read_bytes() == b"video"
    write_bytes(other / "run.json", b"3")
    mirrors.publish(other)
    write_bytes(folder / "run.json", b"mine")
    with pytest.raises(Changed, match="was written by someone else"):
        mirrors.publish(folder)
