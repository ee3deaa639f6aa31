"""Resizing, videos, captions and contact sheets."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from soar.errors import ConfigError
from soar.utils import media

RNG = np.random.default_rng(0)


def images(n: int = 3, height: int = 256, width: int = 256) -> npt.NDArray[np.uint8]:
    return RNG.integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [8, 64, 128])
def test_a_whole_factor_is_the_exact_mean_rounded_half_up(size: int) -> None:
    many = images()
    f = 256 // size
    exact = many.reshape(3, size, f, size, f, 3).astype(np.int64).sum((2, 4))
    np.testing.assert_array_equal(
        media.resize(many, size), (exact + f * f // 2) // (f * f), strict=False
    )


def test_large_white_blocks_do_not_overflow() -> None:
    assert (media.resize(np.full((512, 512, 3), 255, np.uint8), 8) == 255).all()


def test_the_general_path_agrees_with_the_exact_one_on_whole_factors() -> None:
    one = images(1)[0]
    np.testing.assert_allclose(
        media._weighted(one, 64).astype(int), media.resize(one, 64).astype(int), atol=1
    )


@pytest.mark.parametrize(
    ("height", "width", "size"), [(480, 640, 256), (100, 100, 64), (64, 64, 80)]
)
def test_a_flat_image_stays_flat_at_any_size(height: int, width: int, size: int) -> None:
    flat = np.full((2, height, width, 3), (10, 200, 255), np.uint8)
    small = media.resize(flat, size)
    assert small.shape == (2, size, size, 3)
    assert (small == np.array([10, 200, 255])).all()


@pytest.mark.parametrize("size", [64, 100, 300])
def test_an_image_gives_the_same_bytes_alone_and_in_a_batch(size: int) -> None:
    many = images()
    batch = media.resize(many, size)
    for i, image in enumerate(many):
        np.testing.assert_array_equal(batch[i], media.resize(image, size))


def test_pixels_are_weighted_by_their_overlap() -> None:
    row = np.array([0, 90, 240], np.uint8)
    image = np.broadcast_to(row[None, :, None], (3, 3, 3)).copy()
    expected = [(0 * 2 + 90) / 3, (90 + 240 * 2) / 3]
    np.testing.assert_array_equal(media.resize(image, 2)[0, :, 0], expected)


def test_a_video_is_read_back_with_its_frames(tmp_path: Path) -> None:
    frames = [np.full((65, 96, 3), 40 * i, np.uint8) for i in range(6)]
    media.write_video(tmp_path / "new" / "v.mp4", frames)
    back = media.read_video(tmp_path / "new" / "v.mp4")
    assert back.shape == (6, 64, 96, 3)
    np.testing.assert_allclose(back.mean((1, 2, 3)), [40 * i for i in range(6)], atol=3)


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one frame"):
        media.write_video(tmp_path / "v.mp4", [])


def test_a_video_of_one_pixel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"1 x 1 pixels is too small; valid: at least 2 x 2"):
        media.write_video(tmp_path / "v.mp4", images(2, 1, 1))


def test_the_inset_is_in_the_top_right_corner() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    small = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    out = media.inset(image, small)
    assert (out[0, -1] == (255, 0, 0)).all()
    assert (out[-1, 0] == 0).all()
    assert (out[0, -31] == 255).all()
    assert not image.any()


def test_captions_of_fixed_lines_keep_one_frame_size() -> None:
    image = images(1, 64, 128)[0]
    a = media.caption(image, "short", lines=2)
    b = media.caption(image, "a much longer text that needs many lines to be shown whole", lines=2)
    assert a.shape == b.shape
    assert (a[:64] == image).all()
    assert (a[64:] != b[64:]).any()


def test_a_contact_sheet_has_a_cell_per_image(tmp_path: Path) -> None:
    sheet = media.contact_sheet(list(images(5, 64, 64)), list("abcde"), 3, tmp_path / "s.png")
    assert sheet.shape[1] == 3 * 68 + 4
    assert (tmp_path / "s.png").stat().st_size > 1000


def test_a_contact_sheet_without_captions_is_refused() -> None:
    with pytest.raises(ConfigError, match="one caption per image"):
        media.contact_sheet(list(images(2, 8, 8)), ["a"], 2)
