"""Check and conversion of the values that a driver returns. What passes is a copy of the expected type and shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from soar.contract.contract import WIDOWX, Contract
from soar.errors import CameraFault, RobotFault, text_of
from soar.types import Action, Image, Observation

_LARGEST = 1e6
"""Largest number of a state or an action, in any unit; memory that was never written holds larger ones."""


class DriverReader:
    """Reader of a driver's values, which knows the sizes of the episode's images and the time of the last one."""

    def __init__(self, contract: Contract = WIDOWX) -> None:
        self.contract = contract
        self.restart()

    def restart(self) -> None:
        """Forget everything: after a recovery the driver may have another clock and another camera."""
        self._time_s = -np.inf
        self.new_episode()

    def new_episode(self) -> None:
        """Forget the size of the images."""
        self._sizes: dict[str, tuple[int, int]] = {}

    def observation(self, value: Any) -> Observation:
        """Return a copy of an observation.

        Raises:
            CameraFault: an image isn't one or is missing, or its size changed within the episode.
            RobotFault: the state isn't finite numbers, or the time isn't a number that never decreases.
        """
        try:
            image, state, time_s = value.image, value.state, value.time_s
            others = getattr(value, "other_images", {})
        except Exception as error:  # a property may raise anything
            why = "" if isinstance(error, AttributeError) else f" ({text_of(error)})"
            raise RobotFault(
                f"observe() returned {described(value)}{why}; valid: Observation(image, state, time_s)"
            ) from error
        copy = self._image(image)
        more = self._others(others)
        numbers = to_numbers(state, self.contract.state.dim, "state of observe()")
        return Observation(copy, numbers, self._time(time_s), more)

    def action(self, value: Any) -> Action:
        """Return a copy of an executed action. Raises RobotFault: it isn't finite numbers."""
        return to_numbers(value, self.contract.action.dim, "value returned by execute()")

    def _others(self, images: Any) -> dict[str, Image]:
        names = self.contract.camera_names[1:]
        if not names:
            return {}
        if not isinstance(images, Mapping) or (missing := [n for n in names if n not in images]):
            lacking = ", ".join(missing) if isinstance(images, Mapping) else "all"
            raise CameraFault(f"observe() gave no other_images of the cameras: {lacking}")
        return {name: self._image(images[name], name) for name in names}

    def _image(self, value: Any, camera: str = "") -> Image:
        what = f"image of camera {camera}" if camera else "image"
        array = to_array(value)
        if array is None or array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise CameraFault(
                f"the {what} of observe() is {described(value)}; valid: uint8 RGB of shape (h, w, 3)"
            )
        height, width = array.shape[:2]
        if not array.size:
            raise CameraFault(f"the {what} of observe() is empty: {width} x {height} pixels")
        before = self._sizes.setdefault(camera, (height, width))
        if before != (height, width):
            raise CameraFault(
                f"the {what} of observe() has {width} x {height} pixels, in an episode that began with "
                f"{before[1]} x {before[0]}"
            )
        return np.array(array, order="C")

    def _time(self, value: Any) -> float:
        array = to_array(value)
        if array is None or array.shape != () or array.dtype.kind not in "fiu":
            found = described(value)
        elif not np.isfinite(array):
            found = str(array)
        elif array < self._time_s:
            found = f"{float(array):g} s after {self._time_s:g} s"
        else:
            self._time_s = float(array)
            return self._time_s
        raise RobotFault(
            f"time_s of observe() is {found}; valid: seconds that never decrease, as of time.monotonic()"
        )


def to_array(value: Any) -> Shaped[np.ndarray, "..."] | None:
    """Convert to an array, without a copy where possible; None if that's impossible."""
    if value is None or np.ma.is_masked(value):
        return None
    try:
        return np.asarray(value)
    except Exception:  # noqa: BLE001  objects of other libraries may raise anything
        return None


def to_numbers(value: Any, size: int, what: str) -> Float32[np.ndarray, "_n"]:
    """Return a copy of a vector. Raises RobotFault: it isn't `size` finite numbers."""
    array = to_array(value)
    if array is None or array.dtype.kind not in "fiu" or array.shape != (size,):
        found = described(value)
    else:
        with np.errstate(over="ignore"):
            numbers = np.array(array, np.float32)
        if (np.abs(numbers) <= _LARGEST).all():
            return numbers
        found = str(array.tolist())
    raise RobotFault(
        f"the {what} is {found}; valid: {size} finite numbers of shape ({size},), none beyond {_LARGEST:,.0f}"
    )


def described(value: Any) -> str:
    """Describe a value in a few words: "float64 of shape (7, 1)", "None", "a dict"."""
    if value is None:
        return "None"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        array = to_array(value) if isinstance(value, list | tuple) else None
        if array is None or array.dtype.kind not in "fiub":
            return f"a {type(value).__name__}"
        shape, dtype = array.shape, array.dtype
    unread = "" if to_array(value) is not None else ", masked or unreadable for numpy"
    return f"{dtype} of shape {tuple(shape)}{unread}"
