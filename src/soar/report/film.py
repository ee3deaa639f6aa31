"""The film of two collections side by side: the episodes of two stores, accelerated, subgoals in the corner."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from soar.data.store.lance import LanceStore, open_store
from soar.errors import ConfigError
from soar.report.videos import with_subgoal
from soar.types import Episode, EpisodeSummary, Image, Query
from soar.utils.config import check_ranges
from soar.utils.files import write_bytes
from soar.utils.media import caption, encode_video, tile

_FPS = 15
_HELD_S = 0.8
"""Time for which an episode's last frame and verdict are shown [s]."""
_PREVIEWS = ((320, 3, 50), (256, 3, 40), (224, 4, 35), (192, 5, 30), (160, 6, 25))
"""Width [px] of one side, frames of the film for each of the preview's, and quality; the first that fits is used."""

_SAMPLED = 8
"""Number of frames from which a preview's size is estimated."""


@dataclass(frozen=True)
class FilmConfig:
    """What the film shows of both collections."""

    left_title: str = "Language-conditioned policy"
    """Title over the first store's episodes."""
    right_title: str = "Subgoals and goal-conditioned policy"
    """Title over the second store's."""
    episodes: Annotated[int, Ge(1)] = 8
    """Number of episodes of each store, spread evenly over it."""
    speed: Annotated[float, Gt(0)] = 12.0
    """Speed relative to the robot's."""
    size: Annotated[int, Ge(64)] = 384
    """Height and width of each side's picture in pixels."""

    def __post_init__(self) -> None:
        check_ranges(self)


def write_film(left: Path, right: Path, out: Path, config: FilmConfig) -> None:
    """Write the film of two stores as mp4.

    Raises:
        ConfigError: a store has no episodes.
        StoreError: a store can't be read.
        FileError: the film can't be written.
    """
    write_bytes(out, encode_video(film_frames(left, right, config), _FPS, crf=26))


def film_frames(left: Path, right: Path, config: FilmConfig) -> Iterator[Image]:
    """Yield the frames: both sides in step, each until its episodes end. Raises: see `write_film`."""
    sides = [
        _Side(open_store(path, read_only=True), title, config)
        for path, title in ((left, config.left_title), (right, config.right_title))
    ]
    last: list[Image] = []
    for pair in zip_longest(*(side.frames() for side in sides)):
        last = [new if new is not None else old for new, old in zip_longest(pair, last)]
        yield tile(last, 2)


def write_preview(frames: Sequence[Image], out: Path, most_bytes: int) -> int:
    """Write a film's frames as an animated WebP that repeats endlessly.

    Args:
        frames: the film's frames.
        out: file to write.
        most_bytes: size to stay below.

    Returns:
        The number of bytes.

    Raises:
        ConfigError: the film is too long for that size.
        FileError: the file can't be written.
    """
    for width, stride, quality in _PREVIEWS:
        some = frames[:: stride * max(1, len(frames) // (stride * _SAMPLED))]
        size = len(_encode_webp(some, 2 * width, quality, 1)) * len(frames) / (stride * len(some))
        if size > most_bytes and stride < _PREVIEWS[-1][1]:
            continue  # frames farther apart than the preview's are a little larger, never smaller
        data = _encode_webp(frames[::stride], 2 * width, quality, 1000 * stride // _FPS)
        if len(data) <= most_bytes:
            write_bytes(out, data)
            return len(data)
    raise ConfigError(
        f"the smallest preview has {len(data) / 1e6:.1f} MB; valid: fewer --episodes, a higher --speed"
    )


class _Side:
    """One store's half of the film."""

    def __init__(self, store: LanceStore, title: str, config: FilmConfig) -> None:
        self._store, self._title, self._config = store, title, config
        found = list(store.query(Query()))
        if not found:
            raise ConfigError(f"'{store.path}' has no episodes")
        count = min(len(found), config.episodes)
        chosen = np.linspace(0, len(found) - 1, count).round().astype(int).tolist()
        self._episodes: list[EpisodeSummary] = [found[i] for i in chosen]

    def frames(self) -> Iterator[Image]:
        """Yield the frames of all episodes, with a count of the successes so far."""
        successes = 0
        for number, summary in enumerate(self._episodes):
            episode = self._store.load(summary.id)
            score = f"judged successful: {successes} of {number}"
            stride = max(1, round(self._config.speed / (_FPS * episode.contract.period_s)))
            last = len(episode.images) - 1
            for t in range(0, last, stride):
                yield self._frame(episode, t, f"{episode.instruction}\n{score}")
            successes += episode.verdict.outcome == "success"
            text = f"{episode.instruction}: {episode.verdict.outcome}"
            score = f"judged successful: {successes} of {number + 1}"
            held = self._frame(episode, last, f"{text}\n{score}")
            yield from [held] * round(_HELD_S * _FPS)

    def _frame(self, episode: Episode, t: int, text: str) -> Image:
        picture = with_subgoal(episode, t, self._config.size)
        words = f"{self._title}, {self._config.speed:g}x\n{text}"
        return caption(picture, words, lines=4)


def _encode_webp(frames: Sequence[Image], width: int, quality: int, duration_ms: int) -> bytes:
    """Encode frames of one size, reduced to a width, as an animated WebP."""
    from PIL import Image as Pil

    height = round(frames[0].shape[0] * width / frames[0].shape[1])
    small = [Pil.fromarray(f).resize((width, height), Pil.Resampling.LANCZOS) for f in frames]
    buffer = io.BytesIO()
    small[0].save(
        buffer, "WEBP", save_all=True, append_images=small[1:], quality=quality, duration=duration_ms, loop=0,
        method=2,
    )  # fmt: skip
    return buffer.getvalue()
