"""Robometer behind its own evaluation server, which gives a probability of success for each frame."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import numpy as np

from soar.errors import ConfigError, ModelUnavailable, text_of
from soar.tasks.success_detector import to_verdict
from soar.types import SUCCESS_THRESHOLD, Images, Task, Verdict
from soar.utils import http
from soar.utils.addresses import is_web_url
from soar.vlm.clients.endpoint import in_background
from soar.vlm.clients.replies import probability
from soar.vlm.judges.frames import spread_frames


class Robometer:
    """A success detector: the probability of success at the last frame.

    A request has one sample of kind "progress": its frames as a .npy file, and its task as JSON.
    """

    def __init__(
        self,
        url: str,
        threshold: float = SUCCESS_THRESHOLD,
        *,
        frames: int = 8,
        timeout_s: float = 120.0,
    ) -> None:
        """Initialize the detector.

        Args:
            url: http://HOST:PORT of the server, whose path /evaluate_batch_npy answers.
            threshold: P(success) from which an episode counts as a success.
            frames: most frames that are shown; the model takes up to 8.
            timeout_s: time limit of a request.

        Raises:
            ConfigError: the address isn't one.
        """
        if not is_web_url(url):
            raise ConfigError(
                f"'robometer:{url}' names no server; valid: robometer:http://HOST:PORT"
            )
        self.name, self.threshold = f"robometer {url}", threshold
        self._url, self._frames, self._timeout_s = url.rstrip("/"), frames, timeout_s

    def judge_episode(self, frames: Images, task: Task) -> Verdict:
        """Return the verdict on an episode, unknown where the server gives no probability. Raises ModelUnavailable."""
        shown = spread_frames(frames, self._frames)
        file = io.BytesIO()
        np.save(file, shown)
        key = "sample_0_trajectory_frames"
        trajectory = {
            "frames": {"__numpy_file__": key},
            "frames_shape": list(shown.shape),
            "task": task.instruction,
            "id": "0",
            "metadata": {"subsequence_length": len(shown)},
            "video_embeddings": None,
        }
        sample = {"sample_type": "progress", "trajectory": trajectory}
        request = httpx.Request(
            "POST",
            self._url,
            files={key: (f"{key}.npy", file.getvalue(), "application/octet-stream")},
            data={"sample_0": json.dumps(sample)},
        )
        answer = in_background(self._ask, request).result()
        p = _last_probability(answer)
        made = to_verdict(task, p, self.name, self.threshold, f"success_probs {p}")
        return replace(made, source="probability")

    def _ask(self, request: httpx.Request) -> Any:
        """Return the decoded reply. Raises ModelUnavailable."""
        headers = {"Content-Type": request.headers["Content-Type"]}
        address = f"{self._url}/evaluate_batch_npy"
        try:
            reply = http.exchange(address, request.read(), headers, self._timeout_s)
        except http.ExchangeError as error:
            raise ModelUnavailable(f"{self.name}: {error}") from None
        if reply.status != 200:
            said = http.shown(reply.body, "")
            raise ModelUnavailable(f"{self.name}: status {reply.status}: {said}")
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            raise ModelUnavailable(f"{self.name}: the reply is no JSON: {text_of(error)}") from None


def _last_probability(answer: Any) -> float | None:
    """The probability of success at the last frame; None if the reply has none."""
    heads = answer.get("outputs_success") if isinstance(answer, Mapping) else None
    rows = heads.get("success_probs") if isinstance(heads, Mapping) else None
    row = rows[0] if isinstance(rows, list) and rows else None
    last = row[-1] if isinstance(row, list) and row else None
    return probability(last)
