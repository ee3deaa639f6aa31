"""Training batches of the compact VLM from scenes that are generated while it trains; none is seen twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from soar.data.prefetch import step_rng
from soar.nn.text import SentenceEncoder
from soar.pretraining.labeled_images import LabeledImage, LabeledImageConfig
from soar.pretraining.vlm_corpus import scene_images
from soar.tasks.questions import parse_question
from soar.training.vlm import VLMTrainConfig, tinted
from soar.utils.processes import worker_pool
from soar.vlm.compact.model import embed

SCENES_PER_BLOCK = 120
"""Scenes that the batches of neighboring steps are drawn from."""
_SCENES_PER_JOB = 4
_BLOCKS_PER_POOL = 8
"""Blocks after which the processes are replaced, because every world leaks some memory in the OpenGL driver."""
_WHOLE = 0.02
"""Share of questions that are embedded whole, each of which costs as much as ten noun phrases."""


class Block(NamedTuple):
    """Images of a number of scenes with all their questions."""

    images: UInt8[np.ndarray, "n r r 3"]
    questions: np.ndarray
    """Texts, (n, q)."""
    answers: Bool[np.ndarray, "n q"]
    points: Float32[np.ndarray, "n q 2 2"]


class SceneStream(AbstractContextManager["SceneStream"]):
    """A `Batches` source whose block k holds the scenes from k * SCENES_PER_BLOCK on.

    A step's batch depends on seed and step alone: a resumed training generates its block again. Worker processes
    generate one block ahead; nothing is written to disk.
    """

    def __init__(
        self,
        config: VLMTrainConfig,
        seed: int,
        workers: int,
        images: LabeledImageConfig | None = None,
    ) -> None:
        """Describe the stream; the processes start with the first batch.

        Args:
            config: recipe of the training, for the batch size and the augmentation.
            seed: seed of the scenes.
            workers: number of processes.
            images: contents of a scene's images; at the network's resolution.
        """
        self._config, self._seed, self._workers = config, seed, workers
        self._images = images or LabeledImageConfig(resolution=config.net.resolution)
        nominal = SCENES_PER_BLOCK * self._images.images
        self._steps_per_block = max(1, nominal // config.fit.batch_size)
        self._encoder = SentenceEncoder()
        self._pool: AbstractContextManager[ProcessPoolExecutor] | None = None
        self._jobs: OrderedDict[int, list[Future[Block]]] = OrderedDict()
        self._block: tuple[int, Block] | None = None

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray | Tensor]:
        """Return `images`, `words` (sentence vectors), `answers` and `points`."""
        number, within = divmod(step, self._steps_per_block)
        block = self._load(number)
        order = step_rng(self._config.fit.seed, number).permutation(len(block.images))
        rows = np.take(order, range(within * size, (within + 1) * size), mode="wrap")
        rng = step_rng(self._config.fit.seed + 1, step)
        gains = 1 + self._config.tint * rng.uniform(-1, 1, (size, 1, 1, 4)).astype(np.float32)
        whole = rng.random((size, block.questions.shape[1])) < _WHOLE
        rows, gains, whole = rows[part], gains[part], whole[part]
        return {
            "images": tinted(block.images[rows], gains),
            "words": self._embed(block.questions[rows], whole),
            "answers": block.answers[rows].astype(np.float32),
            "points": block.points[rows],
        }

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes."""
        self._jobs.clear()
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
            self._pool = None

    def _embed(self, questions: np.ndarray, whole: Bool[np.ndarray, "b q"]) -> Tensor:
        parsed = [parse_question(str(question)) for question in questions.ravel()]
        vectors = embed(self._encoder, parsed, whole.ravel().tolist())
        return vectors.reshape(*questions.shape, *vectors.shape[1:])

    def _load(self, number: int) -> Block:
        if self._block is None or self._block[0] != number:
            for ahead in (number, number + 1):
                self._request(ahead)
            parts = [job.result() for job in self._jobs.pop(number)]
            self._block = number, Block(*map(np.concatenate, zip(*parts, strict=True)))
        return self._block[1]

    def _request(self, number: int) -> None:
        """Start the generation of a block, every few blocks with new processes."""
        if number in self._jobs:
            return
        if self._pool is None or number % _BLOCKS_PER_POOL == 0:
            if self._pool is not None:
                for job in (job for jobs in self._jobs.values() for job in jobs):
                    job.result()
                self._pool.__exit__(None, None, None)
            self._pool = worker_pool(self._workers)
            self._executor = self._pool.__enter__()
        first = number * SCENES_PER_BLOCK
        self._jobs[number] = [
            self._executor.submit(
                _generate, range(n, n + _SCENES_PER_JOB), self._seed, self._images
            )
            for n in range(first, first + SCENES_PER_BLOCK, _SCENES_PER_JOB)
        ]


def _generate(scenes: range, seed: int, config: LabeledImageConfig) -> Block:
    """Generate the images of some scenes; runs in a worker process."""
    found: Sequence[LabeledImage] = [
        image for number in scenes for image in scene_images(number, seed, config)
    ]
    return Block(
        images=np.stack([x.image for x in found]),
        questions=np.array([x.questions for x in found]),
        answers=np.stack([x.answers for x in found]),
        points=np.stack([x.points for x in found]),
    )
