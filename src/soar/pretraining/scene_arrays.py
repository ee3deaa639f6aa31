"""Arrays of one scene after another, generated in worker processes and kept in one file per scene."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import TypeAlias

import numpy as np

from soar.utils.arrays import read_arrays
from soar.utils.files import replace_file
from soar.utils.processes import worker_pool

Arrays: TypeAlias = Mapping[str, np.ndarray]


def generate_scene_arrays(
    folder: Path, generate: Callable[[int], Arrays], seed: int, workers: int
) -> Generator[Arrays, None, None]:
    """Yield the arrays of the scenes `seed`, `seed + 1`, ... in order, without end.

    A scene whose file exists isn't generated again, so that an interrupted generation resumes. The result doesn't
    depend on `workers`.

    Args:
        folder: folder of the files, created if needed.
        generate: the arrays of a scene by its seed; picklable.
        seed: seed of the first scene.
        workers: number of processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seeds, running = count(seed), deque[Future[Path]]()
    with worker_pool(workers) as pool:
        while True:
            while len(running) < 3 * workers:
                running.append(pool.submit(_write, folder, generate, next(seeds)))
            yield read_arrays(running.popleft().result())


def _write(folder: Path, generate: Callable[[int], Arrays], seed: int) -> Path:
    """Write the file of a scene unless it exists."""
    path = folder / f"{seed:07d}.npz"
    if not path.exists():
        arrays = generate(seed)
        with replace_file(path) as file:
            np.savez(file, allow_pickle=False, **arrays)
    return path
