"""Encoding of frames: JPEG of quality 95 without chroma subsampling, or lossless PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from soar.errors import ConfigError, StoreError
from soar.types import Image, Images
from soar.utils.media import check_size, decode_image

Codec: TypeAlias = Literal["jpeg", "png"]
JPEG_QUALITY = 95
_PNG_MAGIC = b"\x89PNG"


def encode(image: Image, codec: Codec = "jpeg") -> bytes:
    """Encode an image as a JPEG (q95, 4:4:4) or PNG file."""
    if codec == "jpeg":
        import simplejpeg

        pixels = np.ascontiguousarray(image)
        return bytes(simplejpeg.encode_jpeg(pixels, JPEG_QUALITY, "RGB", "444"))
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def decode(data: bytes, out: Image | None = None) -> Image:
    """Decode a JPEG or PNG file, recognized by its first bytes.

    Args:
        data: the file's bytes.
        out: array of the image's shape to decode into, which saves a copy.

    Raises:
        StoreError: the bytes are damaged or neither, or `out` has another shape.
    """
    try:
        image = _decode_png(data) if data[:4] == _PNG_MAGIC else _decode_jpeg(data, out)
    except (ConfigError, ValueError, OSError, SyntaxError, MemoryError) as error:
        raise StoreError(f"a frame of {len(data)} bytes can't be decoded ({error})") from error
    if out is None:
        return image
    if image.shape != out.shape:
        raise StoreError(f"a frame is {image.shape[:2]}, not {out.shape[:2]}")
    if not np.may_share_memory(image, out):
        out[:] = image
    return out


def image_size(data: bytes) -> tuple[int, int]:
    """Return height and width of a JPEG or PNG file from its header [px]. Raises StoreError."""
    import simplejpeg

    if data[:4] == _PNG_MAGIC:
        if len(data) < 24:
            raise StoreError(f"a frame of {len(data)} bytes can't be decoded (no header)")
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise StoreError(f"a frame of {len(data)} bytes can't be decoded ({error})") from error
    return height, width


def decode_all(frames: Sequence[bytes]) -> Images:
    """Decode several images of one size into one array. Raises StoreError."""
    first = decode(frames[0])
    images = np.empty((len(frames), *first.shape), np.uint8)
    images[0] = first
    for data, image in zip(frames[1:], images[1:], strict=True):
        decode(data, image)
    return images


def _decode_jpeg(data: bytes, out: Image | None) -> Image:
    import simplejpeg

    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    check_size(width, height)
    image: Image = simplejpeg.decode_jpeg(data, "RGB", buffer=out)
    return image


def _decode_png(data: bytes) -> Image:
    return decode_image(data, ("PNG",))
