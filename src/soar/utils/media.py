"""Image resizing, PNG and mp4 files, captions and contact sheets.

`resize` is the only conversion from the camera's resolution to a model's, in training and in serving.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings

import numpy as np
from jaxtyping import Float32, Float64, Integer, UInt8

from soar.errors import ConfigError
from soar.types import Image
from soar.utils.files import read_bytes, write_bytes

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

MAX_PIXELS = 2**25
"""Pixels of the largest image that is decoded: 8192 x 4096."""
MAX_IMAGE_BYTES = 2**27
MAX_VIDEO_PIXELS = 2**27
"""Pixels of all frames of the largest video that is read."""
_SIZES = f"valid: up to {MAX_PIXELS} pixels"
MARGIN = 4
"""Margin between images, and around text [px]."""
BACKGROUND = (250, 250, 248)
TEXT_COLOR = (30, 30, 30)


def resize(images: UInt8[np.ndarray, "*n h w 3"], size: int) -> UInt8[np.ndarray, "*n size size 3"]:
    """Resize images to `size` x `size` pixels, each the mean of the area that it covers, rounded half up.

    Integer factors (256 -> 64) are exact integer arithmetic. Other factors weight pixels by overlap; enlarging
    interpolates linearly. An image that isn't square is squashed, as on the paper's robots. The same image gives the
    same bytes, alone or in any batch.
    """
    height, width = images.shape[-3:-1]
    if (height, width) == (size, size):
        return images
    flat = images.reshape(-1, height, width, 3)
    if height % size == 0 and width % size == 0:
        small = _mean_of_blocks(flat, height // size, width // size)
    else:
        small = np.stack([_weighted(image, size) for image in flat]) if len(flat) else flat
    return small.reshape(*images.shape[:-3], size, size, 3)


def _mean_of_blocks(
    images: UInt8[np.ndarray, "n h w 3"], rows: int, columns: int
) -> UInt8[np.ndarray, "n h2 w2 3"]:
    n, height, width, _ = images.shape
    area = rows * columns
    wide = np.uint16 if area * 256 < 2**16 else np.uint32
    total: Integer[np.ndarray, "n h2 w 3"] = images[:, ::rows].astype(wide)
    for row in range(1, rows):
        np.add(total, images[:, row::rows], out=total)
    blocks = total.reshape(n, height // rows, width // columns, columns, 3)
    # einsum sums this short inner axis 20 times faster than ndarray.sum.
    mean: Integer[np.ndarray, "n h2 w2 3"] = np.einsum("nhwfc->nhwc", blocks)
    return ((mean + area // 2) // area).astype(np.uint8)


def _weighted(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    height, width, _ = image.shape
    tall = _weighted_rows(image.reshape(height, -1).astype(np.float32), size)
    turned = tall.reshape(size, width, 3).swapaxes(0, 1).reshape(width, -1)
    both = _weighted_rows(turned, size).reshape(size, size, 3).swapaxes(0, 1)
    return (both + 0.5).clip(0, 255).astype(np.uint8)


def _weighted_rows(rows: Float32[np.ndarray, "old k"], new: int) -> Float32[np.ndarray, "new k"]:
    """Resample rows. When shrinking, the weights repeat: 8 rows of 256 become 3 of 96, and so on."""
    old, k = rows.shape
    parts = math.gcd(old, new) if new < old else 1
    blocks = rows.reshape(parts, old // parts, k)
    means: Float32[np.ndarray, "parts new k"] = _weights(old // parts, new // parts) @ blocks
    return means.reshape(new, k)


@lru_cache(maxsize=32)
def _weights(old: int, new: int) -> Float32[np.ndarray, "new old"]:
    """Return the weight of each of `old` pixels in each of `new`: by overlap, or linearly when enlarging."""
    raw: Float64[np.ndarray, "new old"]
    if new > old:
        center = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
        raw = (1 - np.abs(center[:, None] - np.arange(old))).clip(0)
    else:
        edges = np.arange(new + 1)[:, None] * old / new
        pixel = np.arange(old)
        low, high = np.maximum(edges[:-1], pixel), np.minimum(edges[1:], pixel + 1)
        raw = (high - low).clip(0)
    return np.asarray(raw / raw.sum(1, keepdims=True), np.float32)


def read_image(path: str | Path) -> Image:
    """Read an image file of any common format. Raises ConfigError: see `decode_image`."""
    path = Path(path)
    try:
        with catch_warnings(action="ignore"):
            return decode_image(read_bytes(path, MAX_IMAGE_BYTES))
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if str(path) in text else f"{path}: {text}") from error


def decode_image(data: bytes, formats: tuple[str, ...] | None = None) -> Image:
    """Decode an image file: upright, gray levels of 16 bits scaled to 8, transparent parts on white.

    Args:
        data: the file's bytes.
        formats: formats that are accepted, as Pillow names them; None for all.

    Raises:
        ConfigError: it is no image, is larger than `MAX_PIXELS`, damaged, or of a kind without a defined brightness.
    """
    from PIL import Image as Pil
    from PIL import ImageOps

    try:
        file = Pil.open(io.BytesIO(data), formats=formats)
        check_size(*file.size)
        image = ImageOps.exif_transpose(file)
        if image.mode in ("I;16", "I;16B", "I;16L"):
            levels = np.asarray(image).astype(np.uint32)
            return np.repeat(((levels * 255 + 32767) // 65535).astype(np.uint8)[..., None], 3, -1)
        if image.mode in ("I", "F"):
            raise ConfigError(
                f"an image of mode {image.mode} has no defined brightness; valid: 8 bits per color, or 16 bits gray"
            )
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Pil.alpha_composite(Pil.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))
    except Pil.DecompressionBombError as error:
        raise ConfigError(f"an image is too large; {_SIZES}") from error
    except (
        OSError,
        ValueError,
        SyntaxError,
        ArithmeticError,
        LookupError,
        TypeError,
        MemoryError,
        RuntimeError,
    ) as error:
        raise ConfigError(
            f"no image that can be read: {' '.join(str(error).split())[:200]}"
        ) from error


def check_size(width: int, height: int) -> None:
    """Raise ConfigError for an image whose pixels would be too many, before they are decoded."""
    if not 0 < width * height <= MAX_PIXELS:
        raise ConfigError(f"an image of {width} x {height} pixels is too large; {_SIZES}")


def write_png(path: str | Path, image: Image) -> None:
    """Write a PNG file; creates folders. Raises FileError."""
    write_bytes(Path(path), encode_png(image))


def encode_png(image: Image) -> bytes:
    """Encode an image as a PNG file."""
    from PIL import Image as Pil

    buffer = io.BytesIO()
    Pil.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def write_video(path: str | Path, frames: Iterable[Image], fps: float = 5) -> None:
    """Write an mp4 file that any browser plays; creates folders.

    Raises:
        ConfigError: there are no frames, or they are smaller than 2 x 2 pixels.
        FileError: the file can't be written.
    """
    write_bytes(Path(path), encode_video(frames, fps))


def encode_video(frames: Iterable[Image], fps: float = 5, crf: int = 23) -> bytes:
    """Encode frames of one size as an mp4 file: H.264, yuv420p.

    Args:
        frames: images; an odd last row or column is dropped, as 4:2:0 needs.
        fps: frames per second.
        crf: x264's quality: 18 is nearly lossless, 23 is usual, 30 is small.

    Raises:
        ConfigError: there are no frames, or they are smaller than 2 x 2 pixels.
    """
    from fractions import Fraction

    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        empty = True
        for frame in frames:
            even = frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]
            if not even.size:
                raise ConfigError(
                    f"a video of {frame.shape[1]} x {frame.shape[0]} pixels is too small; valid: at least 2 x 2"
                )
            if empty:
                stream.height, stream.width = even.shape[:2]
                empty = False
            even_frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            container.mux(stream.encode(even_frame))
        if empty:
            raise ConfigError("a video needs at least one frame")
        container.mux(stream.encode())
    return buffer.getvalue()


def read_video(path: str | Path) -> UInt8[np.ndarray, "n h w 3"]:
    """Read all frames of an mp4 file.

    Raises:
        ConfigError: it is missing, no mp4 with a video stream, or too large.
    """
    import av

    frames: list[Image] = []
    try:
        with av.open(str(path), format="mp4") as container:  # another format may name further files
            stream = container.streams.video[0]
            if not 0 < stream.width * stream.height * max(1, stream.frames) <= MAX_VIDEO_PIXELS:
                raise ConfigError(f"{path} is too large; valid: {MAX_VIDEO_PIXELS} pixels")
            for frame in container.decode(stream):
                frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) * frames[0][..., 0].size > MAX_VIDEO_PIXELS:
                    raise ConfigError(f"{path} is too large; valid: {MAX_VIDEO_PIXELS} pixels")
        return np.stack(frames)
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise ConfigError(f"{path} is no readable mp4: {error}") from error


def inset(image: Image, small: Image, fraction: float = 0.3) -> Image:
    """Return the image with a small one, such as a subgoal, in its top right corner, framed in white.

    `fraction` is the small image's share of the height.
    """
    side = max(2, round(image.shape[0] * fraction))
    edge = max(1, side // 40)
    out = image.copy()
    out[: side + edge, -side - edge :] = 255
    out[:side, -side:] = resize(small, side)
    return out


def caption(image: Image, text: str, lines: int | None = None) -> Image:
    """Return the image with text on a strip below it, wrapped to its width.

    `lines` fixes the strip's height and cuts longer text, so that the frames of a video have one size.
    """
    from PIL import Image as Pil
    from PIL import ImageDraw

    font = _font()
    wrapped = _wrap(text, image.shape[1] - 2 * MARGIN)
    shown = wrapped if lines is None else wrapped[:lines]
    strip = Pil.new("RGB", (image.shape[1], _strip_height(lines or len(wrapped))), BACKGROUND)
    ImageDraw.Draw(strip).multiline_text(
        (MARGIN, MARGIN), "\n".join(shown), fill=TEXT_COLOR, font=font
    )
    return np.concatenate([image, np.asarray(strip)])


def contact_sheet(
    images: Sequence[Image],
    captions: Sequence[str],
    columns: int,
    path: str | Path | None = None,
) -> Image:
    """Arrange images in rows of `columns`, each with its caption below; also writes a PNG file if `path` is given.

    Images are resized to the first one's height. Raises ConfigError: there is nothing to show.
    """
    if not images or len(images) != len(captions) or columns < 1:
        raise ConfigError(
            f"a contact sheet needs one caption per image and at least one column: "
            f"{len(images)} images, {len(captions)} captions, {columns} columns"
        )
    side = images[0].shape[0]
    lines = max(len(_wrap(text, side - 2 * MARGIN)) for text in captions)
    cells = [
        caption(resize(image, side), text, lines)
        for image, text in zip(images, captions, strict=True)
    ]
    sheet = tile(cells, columns)
    if path is not None:
        write_png(path, sheet)
    return sheet


def tile(images: Sequence[Image], columns: int) -> Image:
    """Arrange images of one size in rows of `columns`, with a margin between and around them."""
    height, width, _ = images[0].shape
    rows = -(-len(images) // columns)
    across = min(columns, len(images))
    shape = (rows * (height + MARGIN) + MARGIN, across * (width + MARGIN) + MARGIN, 3)
    sheet = np.full(shape, BACKGROUND, np.uint8)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        top, left = MARGIN + row * (height + MARGIN), MARGIN + column * (width + MARGIN)
        sheet[top : top + height, left : left + width] = image
    return sheet


@lru_cache(maxsize=1)
def _font() -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(13)


def _strip_height(lines: int) -> int:
    from PIL import Image as Pil
    from PIL import ImageDraw

    text = "\n".join(["Ag"] * lines)
    box = ImageDraw.Draw(Pil.new("RGB", (1, 1))).multiline_textbbox((0, 0), text, font=_font())
    return round(box[3]) + 2 * MARGIN


def _wrap(text: str, width: int) -> list[str]:
    """Split text into lines of whole words that fit `width` pixels; a word that is too long gets its own line."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and _font().getlength(longer) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return lines
