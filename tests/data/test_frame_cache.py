import errno
import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from soar.contract.contract import WIDOWX, Camera
from soar.data import frame_cache
from soar.data.frame_cache import Frames, build_frames
from soar.data.store.lance import LanceStore
from soar.errors import ConfigError, StoreError
from soar.types import Query, Verdict
from soar.utils.media import resize


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Ids of the episodes that were decoded, in order."""
    seen: list[str] = []
    steps = LanceStore.steps

    def noted(self, id):
        seen.append(id)
        return steps(self, id)

    monkeypatch.setattr(LanceStore, "steps", noted)
    return seen


def test_frames_are_the_episodes_at_the_requested_resolution(store, make_episode, tmp_path):
    episodes = [make_episode(seed, steps=seed + 1) for seed in range(3)]
    ids = [store.append(e) for e in episodes]
    frames = build_frames(store, Query(), 8, tmp_path / "cache", workers=2)
    assert frames.resolution == 8
    assert frames.starts.tolist() == [0, 2, 5, 9]
    assert [e.id for e in frames.episodes] == ids
    assert frames.version == store.version
    for i, episode in enumerate(episodes):
        span = slice(frames.starts[i], frames.starts[i + 1])
        assert np.array_equal(frames.images[span], resize(episode.images, 8))
        assert np.array_equal(frames.states[span], episode.states)
        assert np.array_equal(frames.actions[span][:-1], episode.actions)
        assert not frames.actions[span][-1].any()


def test_labels_can_be_the_commanded_actions(store, make_episode, tmp_path):
    episode = make_episode(0)
    episode = replace(episode, commanded=episode.actions + 1)
    store.append(episode)
    done = build_frames(store, Query(), 8, tmp_path / "cache")
    commanded = build_frames(store, Query(), 8, tmp_path / "cache", labels="commanded")
    assert np.array_equal(done.actions[:-1], episode.actions)
    assert np.array_equal(commanded.actions[:-1], episode.commanded)


def test_frames_in_memory_and_from_the_store_are_the_same(store, make_episode, tmp_path):
    episodes = [make_episode(seed) for seed in range(2)]
    for episode in episodes:
        store.append(episode)
    built = build_frames(store, Query(), 8, tmp_path / "cache")
    direct = Frames.from_episodes(episodes, 8)
    for name in ("images", "states", "actions", "starts"):
        assert np.array_equal(getattr(built, name), getattr(direct, name))


def test_saved_frames_load_unchanged(make_episode, tmp_path):
    frames = Frames.from_episodes([make_episode(seed) for seed in range(2)], 8)
    frames.save(tmp_path / "a")
    again = Frames.load(tmp_path / "a")
    assert np.array_equal(again.images, frames.images)
    assert (again.episodes, again.query) == (frames.episodes, frames.query)
    assert isinstance(again.images.base, np.memmap)


def test_the_same_query_is_read_from_disk(store, make_episode, tmp_path, decoded):
    store.append(make_episode(0))
    build_frames(store, Query(), 8, tmp_path)
    build_frames(store, Query(), 8, tmp_path)
    assert len(decoded) == 1
    build_frames(store, Query(), 4, tmp_path)
    assert len(decoded) == 2


def test_episodes_that_do_not_match_cause_no_build(store, make_episode, tmp_path, decoded):
    query = Query(regimes=("bridge",))
    store.append(make_episode(0, regime="bridge"))
    build_frames(store, query, 8, tmp_path)
    store.append(make_episode(1, regime="soar"))
    frames = build_frames(store, query, 8, tmp_path)
    assert len(decoded) == 1
    assert frames.version == frames.query.version == store.version


def test_an_episode_judged_later_is_included(store, make_episode, tmp_path):
    id = store.append(make_episode(outcome="unknown"))
    before = build_frames(store, Query(), 8, tmp_path)
    store.set_verdict(id, Verdict("success"))
    after = build_frames(store, Query(), 8, tmp_path)
    assert [f.episodes[0].verdict.outcome for f in (before, after)] == ["unknown", "success"]


def test_an_interrupted_build_is_completed(store, make_episode, tmp_path, monkeypatch, decoded):
    ids = [store.append(make_episode(seed)) for seed in range(6)]
    path = store.steps_path(ids[3])
    path.rename(path.with_suffix(".away"))
    with pytest.raises(StoreError, match=f"{ids[3]}.* is missing"):
        build_frames(store, Query(), 8, tmp_path / "cache", workers=1)
    (home,) = (tmp_path / "cache").iterdir()
    with pytest.raises(StoreError, match="no finished frames"):
        Frames.load(home)
    path.with_suffix(".away").rename(path)
    done = np.load(home / "done.npy")
    decoded.clear()
    frames = build_frames(store, Query(), 8, tmp_path / "cache", workers=1)
    assert decoded == [id for id, there in zip(ids, done, strict=True) if not there]
    assert len(decoded) < 6
    whole = Frames.from_episodes([make_episode(seed) for seed in range(6)], 8)
    assert np.array_equal(frames.images, whole.images)


def test_no_episode_is_noted_as_decoded_before_it_is_on_the_disk(
    store, make_episode, tmp_path, monkeypatch
):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(frame_cache, "VOUCH_EVERY_S", -1)
    for seed in range(2):
        store.append(make_episode(seed))
    with monkeypatch.context() as patch:
        patch.setattr(frame_cache, "flush", fail)
        with pytest.raises(StoreError, match="Input/output error"):
            build_frames(store, Query(), 8, tmp_path / "cache", workers=1)
    (home,) = (tmp_path / "cache").iterdir()
    assert not np.load(home / "done.npy").any()
    frames = build_frames(store, Query(), 8, tmp_path / "cache", workers=1)
    assert np.array_equal(
        frames.images, Frames.from_episodes([make_episode(0), make_episode(1)], 8).images
    )


def test_concurrent_callers_build_once(store, make_episode, tmp_path, decoded):
    for seed in range(3):
        store.append(make_episode(seed))
    both = [
        threading.Thread(target=build_frames, args=(store, Query(), 8, tmp_path)) for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(decoded) == 3


def test_a_query_without_matches_is_named(store, tmp_path):
    with pytest.raises(StoreError, match=r"matches scenes=\('7',\)"):
        build_frames(store, Query(scenes=("7",)), 8, tmp_path)


def test_anothers_primary_camera_is_no_further_camera_of_all(store, make_episode, tmp_path):
    contracts = [
        replace(WIDOWX, cameras=tuple(map(Camera, names)))
        for names in (("primary", "wrist"), ("wrist", "front"))
    ]
    for seed, contract in enumerate(contracts):
        episode = make_episode(seed)
        name = contract.camera_names[1]
        store.append(replace(episode, contract=contract, other_images={name: episode.images}))
    with pytest.raises(ConfigError, match="no further camera 'wrist'; valid: none"):
        build_frames(store, Query(), 8, tmp_path, cameras=("wrist",))


def test_a_truncated_cache_is_one_clear_error(make_episode, tmp_path):
    Frames.from_episodes([make_episode()], 8).save(tmp_path)
    os.truncate(tmp_path / "images.npy", 200)
    with pytest.raises(StoreError, match="no finished frames"):
        Frames.load(tmp_path)


def test_reading_frames_needs_numpy_alone():
    code = "import sys, soar.data.frame_cache, soar.types; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "lance", "pyarrow", "simplejpeg", "PIL", "mujoco", "rich"}
    assert not heavy & set(done.stdout.split())


def test_a_full_disk_is_one_clear_error(store, make_episode, tmp_path, monkeypatch):
    store.append(make_episode())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(StoreError, match="the disk is full"):
            build_frames(store, Query(), 8, tmp_path / "cache")
    assert len(build_frames(store, Query(), 8, tmp_path / "cache")) == 5
