"""Image files of people: read rightly or refused."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pil
from PIL import features

from soar.errors import ConfigError
from soar.utils.media import MAX_PIXELS, decode_image, read_image

GRAY = np.arange(0, 256, dtype=np.uint8).reshape(8, 32)
COLOR = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)


def file(image: Pil.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_gray_levels_of_16_bits_keep_their_brightness() -> None:
    wide = Pil.fromarray(GRAY.astype(np.uint16) * 257)
    for kind in ("png", "tiff"):
        assert (decode_image(file(wide, kind)) == GRAY[..., None]).all()


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp", "webp"])
def test_colors_are_read_exactly(kind: str) -> None:
    options = {"lossless": True} if kind == "webp" else {}
    assert np.array_equal(decode_image(file(Pil.fromarray(COLOR), kind, **options)), COLOR)


def test_one_channel_and_palettes_become_rgb() -> None:
    assert (decode_image(file(Pil.fromarray(GRAY), "png")) == GRAY[..., None]).all()
    palette = Pil.fromarray(COLOR).quantize(256)
    assert np.array_equal(decode_image(file(palette, "png")), np.asarray(palette.convert("RGB")))


def test_a_photo_is_turned_as_its_exif_says() -> None:
    for orientation, upright in (
        (3, COLOR[::-1, ::-1]),
        (6, np.rot90(COLOR, -1)),
        (8, np.rot90(COLOR)),
    ):
        exif = Pil.Exif()
        exif[0x0112] = orientation
        assert np.array_equal(decode_image(file(Pil.fromarray(COLOR), "png", exif=exif)), upright)


def test_transparent_parts_are_white() -> None:
    image = np.zeros((2, 2, 4), np.uint8)
    image[0, 0] = (10, 20, 30, 255)
    found = decode_image(file(Pil.fromarray(image), "png"))
    assert found[0, 0].tolist() == [10, 20, 30]
    assert (found[1] == 255).all()


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_images_without_a_defined_brightness_are_refused(kind: type) -> None:
    data = file(Pil.fromarray(np.ones((4, 4), kind)), "tiff")
    with pytest.raises(ConfigError, match="no defined brightness; valid: 8 bits per color"):
        decode_image(data)


def claims(width: int, height: int) -> bytes:
    """A PNG file whose header claims a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
        + struct.pack(">I", zlib.crc32(header)) + bytes(4) + b"IDAT"
    )  # fmt: skip


@pytest.mark.parametrize("size", [(14000, 14000), (8192, 4097), (2**31 - 1, 2**31 - 1)])
def test_the_size_is_checked_before_the_pixels_are_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=f"too large; valid: up to {MAX_PIXELS} pixels"):
        decode_image(claims(*size))


@pytest.mark.parametrize(
    "data",
    [b"", b"no image", claims(4, 4), b"\x89PNG\r\n\x1a\n", file(Pil.fromarray(COLOR), "png")[:-30]],
)
def test_what_is_no_image_is_one_line_that_names_the_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "table.png").write_bytes(data)
    with pytest.raises(ConfigError, match=r"table\.png: no image that can be read") as caught:
        read_image(tmp_path / "table.png")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow reads no AVIF")
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_avif_is_an_image_or_one_error() -> None:
    data = file(Pil.fromarray(COLOR), "avif")
    damaged = [
        data[:place] + bytes([value ^ 255]) + data[place + 1 :] for place, value in enumerate(data)
    ]
    for cut_or_wrong in (data[: len(data) // 2], data[:-9], *damaged):
        with contextlib.suppress(ConfigError):
            assert decode_image(cut_or_wrong).shape[2] == 3


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_an_image_or_one_error() -> None:
    rng = np.random.default_rng(0)
    seeds = [
        file(Pil.fromarray(COLOR), kind) for kind in ("png", "jpeg", "tiff", "gif", "bmp", "webp")
    ]
    for _ in range(300):
        data = bytearray(seeds[rng.integers(len(seeds))])
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(256)
        with contextlib.suppress(ConfigError):
            assert decode_image(bytes(data)).shape[2] == 3
