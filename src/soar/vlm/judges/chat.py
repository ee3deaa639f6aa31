"""Judges behind chat endpoints that take several images: RoboReward's scores and TOPReward's likelihoods.

RoboReward (arXiv 2601.00675) is a fine-tuned Qwen3-VL that scores the end of a rollout from 1 to 5; P(success) is its
expected score, from 0 to 1. TOPReward asks an untuned VLM whether the video completes the task; P(success)
is the probability of the word True. Both are calibrated on your own labels with `soar vlm calibrate`.
"""

from __future__ import annotations

import base64
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from soar.data.store.images import encode
from soar.errors import ModelUnavailable
from soar.tasks.success_detector import to_verdict
from soar.types import SUCCESS_THRESHOLD, Images, Source, Task, Verdict
from soar.utils.config import from_plain
from soar.utils.files import Json
from soar.vlm.clients.chat import ChatVLM
from soar.vlm.clients.endpoint import endpoint_config, in_background
from soar.vlm.clients.replies import Said, read_said
from soar.vlm.clients.transport import RequestError
from soar.vlm.judges.frames import spread_frames

ROBOREWARD_PROMPT = """\
Given the task, assign a discrete progress score reward (1,2,3,4,5) for the robot in the video in the \
format: ANSWER: <score>
Rubric for end-of-episode progress (judge only the final state without time limits):
1 - No Success: Final state shows no goal-relevant change for the command.
2 - Minimal Progress: Final state shows a small but insufficient change toward the goal.
3 - Partial Completion: The final state shows good progress toward the goal but violates more than \
one requirement or a major requirement.
4 - Near Completion: Final state is correct in region and intent but misses a single minor requirement.
5 - Perfect Completion: Final state satisfies all requirements.

Task: {task}"""
"""Prompt of RoboReward's model card, which it was fine-tuned on."""
TOPREWARD_PROMPT = (
    "The above video shows a robot manipulation trajectory that completes the following task: {task} "
    "Decide whether the above statement is True or not. The answer is:"
)
"""Prompt of TOPReward, up to the word whose probability counts."""
_ANSWER = re.compile(r"ANSWER\s*:\s*<?\s*([1-5])(?![\d.])", re.IGNORECASE)
_ALTERNATIVES = 20
"""Requested number of most likely tokens at each position."""
_LEAST_MASS = 0.5
"""Joint probability of the expected words below which a reply is unknown."""


class Reading(NamedTuple):
    """A probability of success, None if the reply doesn't give one, and its origin."""

    p_success: float | None
    source: Source


class ChatJudge(ABC):
    """A success detector that shows frames of an episode to a chat endpoint."""

    prompt: str
    """Text after the frames, with {task} for the instruction."""
    most_tokens: int
    """Most tokens of a reply."""
    manner: str
    """Name of the manner of asking."""

    def __init__(self, chat: ChatVLM, threshold: float, frames: int) -> None:
        """Initialize the detector.

        Args:
            chat: client of the endpoint.
            threshold: P(success) from which an episode counts as a success.
            frames: most frames that are shown, at equal distances, the first and the last among them.
        """
        self.name = f"{self.manner} {chat.name}"
        self.threshold, self._chat, self._frames = threshold, chat, frames

    def judge_episode(self, frames: Images, task: Task) -> Verdict:
        """Return the verdict on an episode. Raises ModelUnavailable."""
        said = read_said(self._ask(spread_frames(frames, self._frames), task.instruction))
        reading = self.read(said)
        verdict = to_verdict(task, reading.p_success, self.name, self.threshold, said.raw)
        return replace(verdict, source=reading.source)

    @abstractmethod
    def read(self, said: Said) -> Reading:
        """Read a reply."""

    def _ask(self, frames: Images, instruction: str) -> Json:
        """The reply to the frames and the prompt. Raises ModelUnavailable."""
        urls = [
            f"data:image/jpeg;base64,{base64.b64encode(encode(frame)).decode()}" for frame in frames
        ]
        parts: list[Json] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        parts.append({"type": "text", "text": self.prompt.format(task=instruction)})
        body = {
            "model": self._chat.config.model,
            "messages": [{"role": "user", "content": parts}],
            "temperature": 0,
            "max_tokens": self.most_tokens,
            "logprobs": True,
            "top_logprobs": _ALTERNATIVES,
        }
        deadline = time.monotonic() + self._chat.config.limit_s
        try:
            return in_background(self._chat.post, body, deadline).result()
        except RequestError as error:
            raise ModelUnavailable(f"{self.name}: {error}") from None


class RoboReward(ChatJudge):
    """Scores from 1 to 5, whose expectation is P(success) from 0 to 1."""

    prompt, most_tokens, manner = ROBOREWARD_PROMPT, 64, "roboreward"

    def read(self, said: Said) -> Reading:
        """Read the score after "ANSWER:" from its token's alternatives, or from the digit itself."""
        matches = list(_ANSWER.finditer(said.text or ""))
        if not matches:
            return Reading(None, "word")
        last = matches[-1]
        shares = _shares(_alternatives(said, last.start(1)), "12345")
        if shares is None:
            return Reading((int(last[1]) - 1) / 4, "word")
        mean = sum(p * (int(digit) - 1) / 4 for digit, p in shares.items())
        return Reading(mean / sum(shares.values()), "probability")


class TOPReward(ChatJudge):
    """The probability that the next word is True."""

    prompt, most_tokens, manner = TOPREWARD_PROMPT, 1, "topreward"

    def read(self, said: Said) -> Reading:
        """Read P(True) from the first token's alternatives, or from the word itself."""
        shares = _shares(_alternatives(said, 0), ("true", "false"))
        if shares is not None:
            # Spellings add up, and servers round each.
            return Reading(min(1.0, shares.get("true", 0.0)), "probability")
        word = (said.text or "").strip().lower().rstrip(".")
        return Reading({"true": 1.0, "false": 0.0}.get(word), "word")


def video_judge(
    manner: str, source: str, threshold: float = SUCCESS_THRESHOLD, **options: Any
) -> ChatJudge:
    """Return a judge.

    Args:
        manner: "roboreward" or "topreward".
        source: MODEL@URL.
        threshold: P(success) from which an episode counts as a success.
        options: fields of `EndpointConfig`, such as key_variable and timeout_s; "frames", the most frames that are
            shown, None for the manner's own.

    Raises:
        ConfigError: an option isn't valid.
    """
    model, _, url = source.rpartition("@")
    frames = from_plain(int | None, options.pop("frames", None), f"{manner}: frames")
    config = endpoint_config(manner, model, url, options)
    kind, usual = (RoboReward, 8) if manner == "roboreward" else (TOPReward, 16)
    return kind(ChatVLM(config), threshold, frames or usual)


def _alternatives(said: Said, start: int) -> Sequence[Json]:
    """The alternatives of the token at a place in the text; empty without log-probabilities."""
    at = 0
    for token in said.tokens:
        piece = token.get("token", "") if isinstance(token, Mapping) else ""
        at += len(piece)
        if at > start and piece.strip():
            found = token.get("top_logprobs")
            return found if isinstance(found, list) else []
    return []


def _shares(alternatives: Sequence[Json], words: Sequence[str]) -> dict[str, float] | None:
    """Probabilities of some words among a token's alternatives; None where they add up to too little."""
    shares: dict[str, float] = {}
    for alternative in alternatives:
        if not isinstance(alternative, Mapping):
            return None
        logprob, token = alternative.get("logprob"), alternative.get("token")
        known = isinstance(logprob, int | float) and not isinstance(logprob, bool) and logprob <= 0
        if not known or not isinstance(token, str):
            return None
        word = token.strip(" \n\t\"'.▁Ġ").lower()
        if word in words:
            shares[word] = shares.get(word, 0.0) + math.exp(max(float(logprob or 0), -800.0))
    return shares if sum(shares.values()) >= _LEAST_MASS else None
