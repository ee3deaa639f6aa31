"""Options of served policies, as a policy file has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from soar.contract.contract import Contract
from soar.types import Image
from soar.utils.config import check_ranges

OPENPI_PIXELS = 224
"""Side of the images that openpi's clients send."""


@dataclass(frozen=True)
class Keys:
    """Keys of a request's values, by what they hold; an empty one is left out."""

    image: str = "observation/image"
    """Primary camera's image."""
    state: str = "observation/state"
    """State."""
    instruction: str = "prompt"
    """Instruction."""
    goal: str = "observation/goal"
    """Goal image, for policies that reach one."""
    cameras: Mapping[str, str] = field(default_factory=dict)
    """Keys of other cameras' images, by the camera's name."""


OPENVLA_KEYS = Keys("image", "", "instruction", "")
"""Keys of OpenVLA's servers."""


@dataclass(frozen=True)
class RemoteOptions:
    """What a served policy is sent, and what its answers mean."""

    keys: Keys = field(default_factory=Keys)
    resize: Annotated[int, Ge(0), Le(4096)] | None = None
    """Side in pixels to which images are resized, with black borders; 0 keeps theirs; None asks the server."""
    contract: Contract | None = None
    """Meaning of the server's states and actions; None takes what it declares, else the packaged arm's."""
    present: Contract | None = None
    """Meaning of the states and actions of the robot; None is the packaged arm's, or the server's for joints."""
    chunk: Annotated[int, Ge(1)] = 1
    """Actions of an answer that are executed before the next request."""
    noise_std: tuple[float, ...] = ()
    """Standard deviation of each number of an action at noise 1, where the server samples none itself."""
    unnorm_key: str = ""
    """Data set whose statistics the server uses, as OpenVLA's clients name it; "" leaves the choice to it."""
    key: str = ""
    """Environment variable that holds the server's key; "" if it needs none."""
    timeout_s: Annotated[float, Gt(0)] = 2.0
    """Time limit of an answer."""
    first_timeout_s: Annotated[float, Gt(0)] = 120.0
    """Time limit of a connection's first answer, for which servers compile."""

    def __post_init__(self) -> None:
        check_ranges(self)


def pad_to(image: Image, side: int) -> Image:
    """Return an image of `side` x `side` pixels, scaled to fit, with black borders, as openpi's clients make it."""
    from PIL import Image as Pillow

    height, width = image.shape[:2]
    if (height, width) == (side, side):
        return image
    ratio = max(width / side, height / side)
    size = (int(width / ratio), int(height / ratio))
    scaled = Pillow.fromarray(image).resize(size, Pillow.Resampling.BILINEAR)
    padded = np.zeros((side, side, 3), np.uint8)
    top, left = max(0, (side - size[1]) // 2), max(0, (side - size[0]) // 2)
    padded[top : top + size[1], left : left + size[0]] = np.asarray(scaled)
    return padded
