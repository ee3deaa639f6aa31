"""What exists, in a few minutes: the scripted expert at work in one scene, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from soar.data.query import Query
from soar.data.store import LanceStore, open_store
from soar.media import caption, contact_sheet, tile, write_video
from soar.sim.demos import EXPERT, collect_demonstrations
from soar.sim.scenes import load_scene
from soar.types import Episode, Image

_CAPTION_LINES = 3


class Shown(NamedTuple):
    """What a demonstration left to look at."""

    video: Path
    sheet: Path
    store: Path
    episodes: int
    success_rate: float
    """Of the expert's attempts in this call; only successes are kept."""


def show_expert(scene: str, episodes: int, folder: Path, workers: int = 2) -> Shown:
    """Scripted demonstrations of a scene into a store, one video of all its tasks, and a contact sheet.

    A second call with the same folder goes on where the first stopped.
    """
    place = load_scene(scene)
    tally = collect_demonstrations(
        folder / "store", place.regime, episodes, workers=workers, scenes=(scene,)
    )
    store = open_store(folder / "store", read_only=True)
    shown = _one_of_each_task(store, place.name)
    video, sheet = folder / "expert.mp4", folder / "expert.png"
    write_video(video, side_by_side([_captioned(e) for e in shown]))
    ends = [image for e in shown for image in (e.images[0], e.images[len(e) // 2], e.images[-1])]
    words = [f"{e.instruction}: {when}" for e in shown for when in ("start", "middle", "end")]
    contact_sheet(ends, words, 3, sheet)
    kept = sum(1 for _ in store.query(Query(scenes=(place.name,))))
    return Shown(video, sheet, folder / "store", kept, tally.rate)


def side_by_side(films: Sequence[Sequence[Image]], columns: int = 2) -> list[Image]:
    """Films of one frame size as one; those that end early stand still."""
    length = max(len(film) for film in films)
    return [tile([film[min(i, len(film) - 1)] for film in films], columns) for i in range(length)]


def _one_of_each_task(store: LanceStore, scene: str) -> list[Episode]:
    query = Query(scenes=(scene,), stations=(EXPERT,))
    first = {s.instruction: s.id for s in reversed(list(store.query(query)))}
    return [store.load(id) for _, id in sorted(first.items())]


def _captioned(episode: Episode) -> list[Image]:
    return [caption(image, episode.instruction, _CAPTION_LINES) for image in episode.images]
