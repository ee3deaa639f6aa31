"""A camera that a driver reads without waiting: always the newest frame, with the time at which it was taken.

    camera = Camera("/dev/video0")
    image, time_s = camera.read()          # in observe(): Observation(image, state, time_s)

A video device queues frames, so that reading it once per control step shows the past. Here a thread reads every frame
as it comes and keeps the last one. `soar doctor` measures what latency remains.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple, Protocol

import numpy as np

from soar.errors import CameraFault, ConfigError
from soar.types import Image


class Frame(NamedTuple):
    """An image and its time."""

    image: Image
    time_s: float
    """Time at which it arrived, on the monotonic clock."""


class Source(Protocol):
    """Where frames come from."""

    def read(self) -> Image | None:
        """Wait for the next frame and return it; None if there is none any more."""

    def close(self) -> None:
        """Release the device."""


class Camera:
    """The newest frame of a source, read in a thread that opens the source again after an interruption."""

    def __init__(
        self,
        source: str | int | Callable[[], Source],
        *,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        stale_s: float = 0.5,
        open_s: float = 10.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the source and wait for its first frame.

        Args:
            source: device ("/dev/video0" or a number), file or address that OpenCV opens; or a function that opens
                another source.
            width: width to ask for, in pixels; None for the source's own.
            height: height to ask for, in pixels; None for the source's own.
            fps: frames per second to ask for; None for the source's own.
            stale_s: age in seconds from which the newest frame is too old.
            open_s: time limit of the first frame in seconds.
            now: clock.

        Raises:
            CameraFault: no frame came in time.
        """
        self._open: Callable[[], Source] = (
            source if callable(source) else lambda: OpenCVSource(source, width, height, fps)
        )
        self._stale_s, self._now = stale_s, now
        self._newest: Frame | None = None
        self._problem = "no frame yet"
        self._arrived = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._newest is not None, open_s):
                self._ended.set()
                raise CameraFault(f"the camera gave no frame within {open_s:g} s: {self._problem}")

    def read(self) -> Frame:
        """Return the newest frame, without waiting.

        Raises:
            CameraFault: it is too old: the camera is gone, frozen or overloaded.
        """
        with self._arrived:
            newest, problem = self._newest, self._problem
        age = np.inf if newest is None else self._now() - newest.time_s
        if newest is None or age > self._stale_s:
            why = f": {problem}" if problem else ""
            raise CameraFault(f"the camera's newest frame is {age:.2f} s old{why}")
        return newest

    def read_next(self, timeout_s: float = 1.0) -> Frame:
        """Return the first frame that arrives from now on. Raises CameraFault: none in time."""
        with self._arrived:
            before = self._newest
            if not self._arrived.wait_for(lambda: self._newest is not before, timeout_s):
                raise CameraFault(f"the camera gave no frame within {timeout_s:g} s")
            assert self._newest is not None
            return self._newest

    def close(self) -> None:
        """Release the device. Safe to call twice."""
        self._ended.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        pause_s = 0.1
        while not self._ended.is_set():
            try:
                source = self._open()
            except Exception as error:  # noqa: BLE001  libraries of cameras raise anything
                self._note(str(error))
                self._ended.wait(pause_s)
                pause_s = min(2 * pause_s, 2.0)
                continue
            try:
                with closing(source):
                    while not self._ended.is_set() and (image := source.read()) is not None:
                        self._keep(image)
                        pause_s = 0.1
                self._note("the source has ended")
            except Exception as error:  # noqa: BLE001
                self._note(str(error))
            self._ended.wait(pause_s)

    def _keep(self, image: Image) -> None:
        with self._arrived:
            self._newest, self._problem = Frame(image, self._now()), ""
            self._arrived.notify_all()

    def _note(self, problem: str) -> None:
        with self._arrived:
            self._problem = " ".join(problem.split())[:200]


class OpenCVSource:
    """Frames of a device, file or address that OpenCV opens, as RGB."""

    def __init__(
        self, name: str | int, width: int | None, height: int | None, fps: float | None
    ) -> None:
        """Open it. Raises CameraFault: it can't be opened; ConfigError: OpenCV isn't installed."""
        try:
            import cv2
        except ImportError as error:
            raise ConfigError("a camera needs `pip install soar-robot[camera]`") from error
        number = isinstance(name, str) and name.removeprefix("/dev/video")
        index = int(number) if isinstance(number, str) and number.isdecimal() else name
        self._capture = cv2.VideoCapture(index)
        wanted = (
            (cv2.CAP_PROP_FRAME_WIDTH, width),
            (cv2.CAP_PROP_FRAME_HEIGHT, height),
            (cv2.CAP_PROP_FPS, fps),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        )
        for key, value in wanted:
            if value is not None:
                self._capture.set(key, value)
        if not self._capture.isOpened():
            raise CameraFault(f"{name} can't be opened as a camera")

    def read(self) -> Image | None:
        """See `Source.read`."""
        ok, image = self._capture.read()
        return np.ascontiguousarray(image[..., ::-1]) if ok else None

    def close(self) -> None:
        """See `Source.close`."""
        self._capture.release()
