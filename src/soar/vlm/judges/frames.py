"""Frames of an episode that a judge is shown."""

from __future__ import annotations

import numpy as np

from soar.errors import ConfigError
from soar.types import Images


def spread_frames(images: Images, count: int) -> Images:
    """Return `count` frames at equal distances, the first and the last among them; all of a shorter episode.

    Raises:
        ConfigError: fewer than 2 are asked for.
    """
    if count < 2:
        raise ConfigError(f"frames is {count}; valid: at least 2")
    if len(images) <= count:
        return images
    chosen: Images = images[np.linspace(0, len(images) - 1, count).round().astype(int)]
    return chosen
