"""Content of episodes: what the store refuses at once, and what `verify` finds in stores of earlier versions."""

from __future__ import annotations

import io
import struct
import zlib
from functools import partial

import numpy as np
import pytest
import simplejpeg
from PIL import Image as Pil

from soar.data.store import lance
from soar.data.store.images import decode
from soar.data.store.lance import LanceStore, open_store
from soar.data.store.verify import verify
from soar.errors import ContentError, StoreError
from soar.rollout.recorder import Recorder


def bad(make_episode, name, change):
    """An episode with one array changed."""
    episode = make_episode()
    array = getattr(episode, name).copy()
    object.__setattr__(episode, name, change(array))
    return episode


def put(value, *place):
    def change(array):
        array[place] = value
        return array

    return change


UNSTORABLE = [
    ("actions", put(np.nan, 2, 3), "actions of step 2 holds"),
    ("commanded", put(np.inf, 0, 0), "commanded of step 0 holds"),
    ("states", put(-np.inf, 4, 6), "states of step 4 holds"),
    ("times_s", put(np.nan, 1), "times_s of step 1 holds"),
    ("times_s", put(-5.0, 3), "time_s doesn't advance after step 2"),
    ("times_s", lambda t: np.zeros_like(t), "time_s doesn't advance after step 0"),
]
MISSHAPEN = [
    ("actions", lambda a: a[:, :6], r"actions \(4, 6\), not \(4, 7\)"),
    ("actions", lambda a: np.tile(a, 2), r"actions \(4, 14\), not \(4, 7\)"),
    ("states", lambda a: np.tile(a, 2)[:, :8], r"states \(5, 8\), not \(5, 7\)"),
    ("times_s", lambda t: t[:, None], r"times_s \(5, 1\), not \(5,\)"),
    ("images", lambda i: i[..., 0], "height x width x 3"),
    ("images", lambda i: i[:, :0], "height x width x 3"),
    ("images", lambda i: i / np.float32(255), "uint8, not float32"),
]


@pytest.mark.parametrize(("name", "change", "message"), [*UNSTORABLE, *MISSHAPEN])
def test_content_that_the_store_cannot_hold_is_refused_at_once(
    store, make_episode, name, change, message
):
    with pytest.raises(ContentError, match=message):
        store.append(bad(make_episode, name, change))
    assert not list(store.path.glob("steps/*/*"))


@pytest.mark.parametrize(("name", "change", "message"), UNSTORABLE)
def test_verify_names_such_content_in_stores_of_earlier_versions(
    store, make_episode, monkeypatch, name, change, message
):
    monkeypatch.setattr(lance, "check_episode", lambda episode: None)
    whole, broken = store.append(make_episode()), store.append(bad(make_episode, name, change))
    found = {f.part: f.problem for f in verify(store) if f.part.startswith("episode")}
    assert found[f"episode {whole}"] == ""
    assert message in found[f"episode {broken}"]


def test_the_recorder_drops_such_an_episode_and_stores_the_others(store, make_episode, caplog):
    recorder = Recorder(store, 4, lambda station: make_episode().provenance)
    broken = bad(make_episode, *UNSTORABLE[0][:2])
    for episode in (make_episode(1), broken, make_episode(2)):
        recorder._pending.append((episode, recorder.submit(partial(store.append, episode))))
    recorder.close()
    assert len(list(store.query())) == 2
    assert "is dropped: the store can't hold the episode: actions of step 2" in caplog.text


def test_once_the_store_works_again_one_attempt_stores_everything(store, make_episode):
    """Sixteen arms may each have an episode that waits; a pause for each would last for minutes."""
    full = True

    def append(episode):
        if full:
            raise StoreError("full")
        return LanceStore.append(store, episode)

    store.append = append
    recorder = Recorder(store, 4, lambda station: make_episode().provenance)
    for seed in (1, 2, 3):
        episode = make_episode(seed)
        recorder._pending.append((episode, recorder.submit(partial(store.append, episode))))
    for _ in range(2):
        with pytest.raises(StoreError, match="full"):
            recorder.settle(keep=1)
    full = False
    recorder.settle()
    assert not recorder.unstored
    assert sorted(e.provenance.seed for e in store.query()) == [1, 2, 3]
    recorder.close()


@pytest.mark.parametrize(
    "id", ["../../../tmp/x", "/etc/passwd", "..", "", "a/b", "a\0b", "x" * 300, "a.b", "\x1b[2J"]
)
def test_an_id_that_could_name_another_file_is_damage(store, make_episode, id, caplog):
    whole = store.append(make_episode())
    row = store.index.open().to_table().to_pylist()[0]
    store.index.append({**row, "id": id})
    assert [e.id for e in store.query()] == [whole]
    assert "is left out" in caplog.text
    with pytest.raises(StoreError, match="is no episode's id"):
        store.load(id)
    problems = [f for f in verify(store) if f.problem]
    assert any("is no episode's id" in f.problem for f in problems)


@pytest.mark.parametrize("column", ["verdict", "provenance"])
@pytest.mark.parametrize("text", ["", "[]", "3", "{", '{"x": 1}', "[" * 10**5, '{"outcome": 3}'])
def test_a_damaged_row_costs_its_own_episode(store, make_episode, column, text, caplog):
    whole, broken = store.append(make_episode()), store.append(make_episode(1))
    store.index.update(broken, {column: text})
    assert [e.id for e in store.query()] == [whole]
    with pytest.raises(StoreError, match=f"the row of episode '{broken}' is damaged"):
        store.load(broken)
    assert any(f.part == "rows" and f.problem for f in verify(store))


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "null", "{}", '"x"', "[" * 10**5, '{"format": []}']
)
def test_a_malformed_store_json_is_one_line(store, text):
    (store.path / "store.json").write_text(text)
    with pytest.raises(StoreError, match=r"no readable store\.json|this package reads"):
        open_store(store.path)


def jpeg_that_claims(height, width):
    data = bytearray(simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def png_that_claims(height, width):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10**6))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [
        jpeg_that_claims(65500, 65500), png_that_claims(12800, 12800), png_that_claims(8192, 4097),
        png_that_claims(2**31 - 1, 2**31 - 1), png_that_claims(0, 5),
    ],
)  # fmt: skip
def test_an_image_that_claims_too_many_pixels_is_refused_before_it_is_decoded(data):
    with pytest.raises(StoreError, match="can't be decoded"):
        decode(data)


def test_a_png_of_the_store_decodes_to_its_own_pixels():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    file = io.BytesIO()
    Pil.fromarray(image).save(file, "png")
    assert np.array_equal(decode(file.getvalue()), image)
