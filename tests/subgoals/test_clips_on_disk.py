"""Captions' embeddings on the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soar.data.frame_cache import Frames
from soar.subgoals import clips
from soar.subgoals.clips import ClipCorpus
from soar.types import EpisodeSummary, Provenance, Verdict


@pytest.fixture
def frames() -> Frames:
    summary = EpisodeSummary("0", "", 1, Verdict("unknown"), Provenance("v", "real", "", 0, 0.0))
    texts = ("pushing a cup", "lifting a box", "pushing a cup", "turning a pen over")
    count = 2 * len(texts)
    return Frames(
        images=np.zeros((count, 8, 8, 3), np.uint8),
        states=np.zeros((count, 7), np.float32),
        actions=np.zeros((count, 7), np.float32),
        starts=np.arange(0, count + 1, 2),
        episodes=tuple(replace(summary, id=str(i), instruction=t) for i, t in enumerate(texts)),
    )


def test_embeddings_on_the_disk_are_those_in_memory_and_are_made_once(
    frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = ClipCorpus.from_frames(frames)
    monkeypatch.setattr(clips, "_BLOCK", 2)
    on_disk = ClipCorpus.from_frames(frames, cache=tmp_path)
    assert isinstance(on_disk.words, np.memmap)
    assert np.array_equal(on_disk.words, in_memory.words)
    assert np.array_equal(on_disk.rows, in_memory.rows)
    assert np.isnan(on_disk.points).all()
    monkeypatch.setattr(clips, "SentenceEncoder", None)
    assert np.array_equal(ClipCorpus.from_frames(frames, cache=tmp_path).words, in_memory.words)
