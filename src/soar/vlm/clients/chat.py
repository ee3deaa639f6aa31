"""Yes/no questions over `/chat/completions` with an image, which nearly every server has.

Every request asks for log-probabilities and a JSON schema. Some servers honor both, some refuse them and several
ignore them silently, so the reply decides how it is read. Questions whose answers are missing from a joint reply are
asked once more, one by one.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from soar.errors import ConfigError, ModelUnavailable
from soar.registry import load_vlm
from soar.types import Answer, Image, Question
from soar.utils.files import Json
from soar.utils.media import encode_png
from soar.vlm.clients.decoder import Decoder
from soar.vlm.clients.dialect import NO_EXTRAS, Changes, adapted, announce, remedy
from soar.vlm.clients.endpoint import Endpoint, EndpointConfig, in_background
from soar.vlm.clients.replies import read_chat, read_said, read_text
from soar.vlm.clients.transport import RequestError

_MOST_CHANGES = 6
"""Most changes of a request before a refusal counts."""
_FREE: Mapping[str, Json] = {"max_tokens": 300}
"""Parameters of a request for free text."""
_ALTERNATIVES = 10
"""Requested number of most likely tokens at each position."""


class ChatVLM(Endpoint):
    """Client that asks in words and reads log-probabilities if there are any, else JSON or words."""

    path = "/chat/completions"

    def __init__(self, config: EndpointConfig, extras: bool = True, decoder: str = "") -> None:
        """Initialize the client.

        Args:
            config: address and limits.
            extras: request log-probabilities and a schema until the server refuses them.
            decoder: name of a language model, "chat:MODEL@URL", that reads replies in free text; each question is then
                a request of its own.

        Raises:
            ConfigError: the decoder's name has another form.
        """
        super().__init__(config)
        self.most_questions = 1 if decoder else 32
        self._decoder = Decoder(language_model(decoder)) if decoder else None
        self._changes: Changes = {} if extras else NO_EXTRAS
        self._suspected: Changes = {}

    def ask(self, image: str, questions: Sequence[Question], deadline: float) -> list[Answer]:
        """Ask all questions in one request, and those left open one by one."""
        answers = super().ask(image, questions, deadline)
        if len(questions) == 1:
            return answers
        return [
            super(ChatVLM, self).ask(image, [a.question], deadline)[0] if a.p_yes is None else a
            for a in answers
        ]

    def post(self, body: Json, deadline: float) -> Json:
        """Post one request, changed as far as the server refuses its parameters. Raises RequestError."""
        known = changes = self._changes
        repeated = failed = False
        for _ in range(_MOST_CHANGES):
            request = adapted(body, changes)
            try:
                reply = super().post(request, deadline)
            except RequestError as error:
                more = remedy(error, request, repeated)
                if more is None:
                    raise
                repeated = not more
                failed |= (error.status or 0) >= 500
                changes = {**changes, **more}
            else:
                self._remember(known, changes, failed)
                return reply
        return super().post(adapted(body, changes), deadline)

    def _remember(self, known: Changes, changes: Changes, failed: bool) -> None:
        """Keep changes that worked; after a server's failure, which may have passed, only the second time."""
        new = {k: v for k, v in changes.items() if k not in known or known[k] != v}
        sure = not failed or self._suspected == new
        self._suspected = new
        if new and sure and self._changes is known:
            self._changes = changes
            announce(self.name, new)

    def write(self, prompt: str, image: Image | None = None) -> str:
        """Return the free-text reply to a prompt, and to an image where there is one. Raises ModelUnavailable."""
        content: Json = prompt
        if image is not None:
            content = _content(base64.b64encode(encode_png(image)).decode(), prompt)
        body = {
            "model": self.config.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            **_FREE,
        }
        try:
            deadline = time.monotonic() + self.config.limit_s
            return read_text(in_background(self.post, body, deadline).result())
        except RequestError as error:
            raise ModelUnavailable(f"{self.name}: {error}") from None

    def request(self, image: str, questions: Sequence[Question]) -> Json:
        """Build one user message of the image, the questions, and, without a decoder, how to answer."""
        text = str(questions[0]) if self._decoder else _prompt(questions)
        return {
            "model": self.config.model,
            "messages": [{"role": "user", "content": _content(image, text)}],
            "temperature": 0,
            **(_FREE if self._decoder else _short(len(questions))),
        }

    def read(self, reply: Json, questions: Sequence[Question]) -> list[Answer]:
        """Read P(yes) from the tokens of each answer, or from its words."""
        if self._decoder is None:
            return read_chat(reply, questions, self.config.least_mass)
        said = read_said(reply)
        if said.text is None:
            return [Answer(q, None, said.raw) for q in questions]
        return [self._decoder.read(said.text, q, said.whole) for q in questions]


def _content(image: str, text: str) -> Json:
    """Parts of a message: an image as base64 PNG, and a text."""
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    return [part, {"type": "text", "text": text}]


def _short(count: int) -> dict[str, Json]:
    """Parameters of a request for short answers, with probabilities and a schema."""
    return {
        "max_tokens": 16 + 16 * count,
        "logprobs": True,
        "top_logprobs": _ALTERNATIVES,
        **({"response_format": _schema(count)} if count > 1 else {}),
    }


def _prompt(questions: Sequence[Question]) -> str:
    if len(questions) == 1:
        return f"{questions[0]} Answer yes or no only."
    listed = "\n".join(f"{i}. {q}" for i, q in enumerate(questions, 1))
    return (
        f"Answer each question about the image with yes or no.\n{listed}\n"
        'Reply with one JSON object only, for example {"1": "yes", "2": "no"}, with a key for each number.'
    )


def _schema(count: int) -> Json:
    """Schema of an object whose keys are the questions' numbers and whose values are yes or no."""
    keys = [str(i + 1) for i in range(count)]
    schema = {
        "type": "object",
        "properties": {k: {"type": "string", "enum": ["yes", "no"]} for k in keys},
        "required": keys,
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "answers", "strict": True, "schema": schema},
    }


def language_model(name: str) -> Callable[[str], str]:
    """Return a function from a prompt to a chat endpoint's reply; the function raises ModelUnavailable.

    Args:
        name: "MODEL@URL" or "chat:MODEL@URL", with "#VARIABLE" at the end if that environment variable holds the key.

    Raises:
        ConfigError: the name has another form.
    """
    kind = name.partition(":")[0]
    if kind in ("systemone", "decisions", "local", "python"):
        raise ConfigError(f"'{name}' is no language model; valid: chat:MODEL@http://HOST/v1")
    return cast(ChatVLM, load_vlm(f"chat:{name.removeprefix('chat:')}")).write
