"""The film of two collections."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from soar.cli import main
from soar.improvement.run import Run
from soar.report.film import FilmConfig, film_frames, write_preview
from soar.utils.media import read_video


def test_a_film_shows_both_stores_with_titles_counts_and_verdicts(run: Run, tmp_path: Path) -> None:
    store, out, preview = str(run.store), tmp_path / "film.mp4", tmp_path / "film.webp"
    main(["report", "film", store, store, "--episodes", "2", "--out", str(out), "--size", "128",
          "--preview", str(preview)])  # fmt: skip
    frames = read_video(out)
    stride_frames, held = 2, 12  # 8 steps in every fourth frame, and the last one
    assert len(frames) == 2 * (stride_frames + held)
    left, right = np.split(frames[0].astype(int), 2, axis=1)
    same = np.abs(left[8:120, 8:120] - right[8:120, 4:116]).mean()
    assert same < 8  # the same episodes, under different titles
    assert not np.array_equal(left[130:], right[130:])
    assert preview.stat().st_size < 1.5e6
    count = Pil.open(preview).n_frames  # type: ignore[attr-defined]  # equal ones are joined
    assert 2 <= count <= -(-len(frames) // 3)


def test_a_side_that_ends_first_keeps_its_last_picture(run: Run, tmp_path: Path) -> None:
    one, two = FilmConfig(episodes=1, size=64), FilmConfig(episodes=2, size=64)
    frames = list(film_frames(run.store, run.store, two))
    assert len(frames) == 2 * len(list(film_frames(run.store, run.store, one)))
    assert len({f.shape for f in frames}) == 1


def test_a_preview_that_would_be_too_large_says_what_helps(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), np.uint8)
    with pytest.raises(Exception, match="valid: fewer --episodes"):
        write_preview(list(noise), tmp_path / "film.webp", 100)
    assert not (tmp_path / "film.webp").exists()
