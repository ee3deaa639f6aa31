"""Video files of LeRobot data sets: many episodes in one mp4, at a constant rate, found by time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np

from soar.errors import ConfigError
from soar.types import Image
from soar.utils.files import Json

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

VideoCodec: TypeAlias = Literal["av1", "h264"]
_ENCODERS: Mapping[VideoCodec, tuple[str, Mapping[str, str]]] = {
    "av1": ("libsvtav1", {"g": "2", "crf": "30", "preset": "12"}),
    "h264": ("libx264", {"g": "2", "crf": "23", "preset": "veryfast"}),
}
"""Encoders and their options. A key frame at every second image keeps random access cheap, as in LeRobot."""


def video_info(codec: VideoCodec, fps: int) -> dict[str, Json]:
    """Return the description of a video feature, without its size."""
    options = _ENCODERS[codec][1]
    return {
        "video.codec": codec,
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
        "video.g": int(options["g"]),
        "video.crf": int(options["crf"]),
        "video.preset": options["preset"],
    }


class VideoWriter:
    """An mp4 file that grows image by image."""

    def __init__(self, path: Path, codec: VideoCodec, fps: int, height: int, width: int) -> None:
        import av

        if height % 2 or width % 2:
            raise ConfigError(
                f"images of {width} x {height} pixels don't fit a video; valid: even numbers (--size), or images"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        encoder, options = _ENCODERS[codec]
        self.path = path
        self.frames = self.bytes = 0
        self._is_open = True
        self._period = Fraction(1, fps)
        os.environ.setdefault(
            "SVT_LOG", "1"
        )  # errors alone: this encoder ignores the library's log level
        self._container = av.open(str(path), "w", format="mp4")
        stream = self._container.add_stream(encoder, rate=fps, options=dict(options))
        self._stream = cast("VideoStream", stream)
        self._stream.pix_fmt = "yuv420p"
        self._stream.width, self._stream.height = width, height

    def write(self, image: Image) -> None:
        """Append an image."""
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts = self.frames
        frame.time_base = self._period
        self._mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Finish the file. Safe to call twice."""
        if self._is_open:
            self._is_open = False
            self._mux(self._stream.encode())
            self._container.close()

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        self.bytes += sum(packet.size for packet in packets)
        self._container.mux(packets)


class VideoReader:
    """Reads an mp4 file's images from a time on; reading on from where the last call ended needs no seek."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._container: InputContainer | None = None
        self._frames: Iterator[VideoFrame] = iter(())
        self._next_s = -1.0

    def close(self) -> None:
        """Close the file and its decoder."""
        self._frames = iter(())
        if self._container is not None:
            self._container.close()

    def read(self, start_s: float, count: int, fps: int) -> Iterator[Image]:
        """Yield `count` images, the first at `start_s`.

        Raises:
            ConfigError: the file is damaged, or has no image at one of these times.
        """
        import av

        try:
            container = self._container
            if container is None:
                self._container = container = av.open(str(self.path))
            if abs(start_s - self._next_s) > 0.5 / fps:
                stream = container.streams.video[0]
                container.seek(round(start_s / float(stream.time_base or 1)), stream=stream)
                self._frames = container.decode(stream)
            for index in range(count):
                yield self._at(start_s + index / fps, fps).to_ndarray(format="rgb24")
            self._next_s = start_s + count / fps
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise ConfigError(f"{self.path} can't be read: {error}") from error

    def _at(self, time_s: float, fps: int) -> VideoFrame:
        """Return the image at a time, skipping those before it."""
        for frame in self._frames:
            if frame.time is None or frame.time < time_s - 0.5 / fps:
                continue
            if frame.time < time_s + 0.5 / fps:
                return frame
            break
        raise ConfigError(f"{self.path} has no image at {time_s:.3f} s")
