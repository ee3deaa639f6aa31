"""Frames to bytes and back: JPEG quality 95 without colour subsampling, or lossless PNG."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Literal, TypeAlias

import numpy as np

from soar.errors import StoreError
from soar.types import Image, Images

Codec: TypeAlias = Literal["jpeg", "png"]
JPEG_QUALITY = 95
_PNG_MAGIC = b"\x89PNG"


def encode(image: Image, codec: Codec = "jpeg") -> bytes:
    """One image as a self-contained JPEG (q95, 4:4:4) or PNG file."""
    if codec == "jpeg":
        import simplejpeg

        pixels = np.ascontiguousarray(image)
        return bytes(simplejpeg.encode_jpeg(pixels, JPEG_QUALITY, "RGB", "444"))
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def decode(data: bytes) -> Image:
    """The image in a JPEG or PNG file; which one is read from its first bytes.

    Raises:
        StoreError: the bytes are damaged or neither.
    """
    import simplejpeg

    try:
        if data[:4] != _PNG_MAGIC:
            image: Image = simplejpeg.decode_jpeg(data, "RGB")
            return image
        from PIL import Image as Pillow

        return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))
    except (ValueError, OSError, SyntaxError) as error:
        raise StoreError(f"a frame of {len(data)} bytes can't be decoded ({error})") from error


def decode_all(frames: Iterable[bytes]) -> Images:
    """Several images of one size, stacked."""
    return np.stack([decode(frame) for frame in frames])
