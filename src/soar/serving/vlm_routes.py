"""Served VLM: OpenAI's chat completions and transformers' systemone, for yes/no questions about an image."""

from __future__ import annotations

import base64
import binascii
import math
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from soar.errors import ConfigError, SoarError
from soar.interfaces import VisionLanguageModel
from soar.serving.batching import Batcher
from soar.serving.http_routes import read_payload
from soar.tasks.questions import parse_question
from soar.types import Answer, Image, Question
from soar.utils.media import decode_image

_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,")
_NUMBERED = re.compile(r"^\s*(\d{1,4})[.):]\s*([^\n?]*\?)", re.MULTILINE)
_QUESTION = re.compile(r"[^.?!\n:]*\?")
_UNKNOWN = "I can't tell."
_LEAST = 1e-9
"""Least probability whose logarithm is sent."""


class VLMRequest(NamedTuple):
    """Questions about one image."""

    image: Image
    questions: tuple[Question, ...]


def vlm_routes(vlm: VisionLanguageModel, wait_s: float) -> list[BaseRoute]:
    """Return the routes of a served VLM. `wait_s`: longest wait of a request for those of other clients."""

    def answer(requests: Sequence[VLMRequest]) -> list[list[Answer] | SoarError]:
        images = [r.image for r in requests]
        return list(vlm.answer(images, [r.questions for r in requests]))

    batcher: Batcher[VLMRequest, list[Answer]] = Batcher(answer, wait_s)

    async def ask(request: VLMRequest) -> list[Answer]:
        with batcher.client():
            return (await batcher.submit([request]))[0]

    async def chat(request: Request) -> Response:
        try:
            body = (await read_payload(request)).values
            asked = _chat_request(body)
            return JSONResponse(_completion(body, await ask(asked), vlm.name))
        except SoarError as error:
            return _problem(error)

    async def systemone(request: Request) -> Response:
        try:
            names, asked = _systemone_request((await read_payload(request)).values)
            answers = await ask(asked)
        except SoarError as error:
            return _problem(error)
        found = {n: {"type": "noul", "noul": a.p_yes} for n, a in zip(names, answers, strict=True)}
        return JSONResponse({"model": vlm.name, "answers": found})

    async def models(request: Request) -> Response:
        listed = {"id": vlm.name, "object": "model", "created": 0, "owned_by": "soar"}
        return JSONResponse({"object": "list", "data": [listed]})

    return [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/systemone", systemone, methods=["POST"]),
        Route("/v1/models", models),
    ]


def find_questions(text: str) -> tuple[Question, ...]:
    """Return the yes/no questions of a prompt: its numbered lines, or the first sentence that ends with "?".

    Raises:
        ConfigError: there is none, or the numbers don't count from 1.
    """
    numbered = _NUMBERED.findall(text)
    if len(numbered) > 1:
        if [int(n) for n, _ in numbered] != list(range(1, len(numbered) + 1)):
            raise ConfigError("numbered questions count from 1")
        return tuple(parse_question(words.strip()) for _, words in numbered)
    if match := _QUESTION.search(text):
        return (parse_question(match[0].strip()),)
    raise ConfigError(f"no question in {text!r:.100}; valid: yes/no questions that end with '?'")


def _chat_request(body: Mapping[str, Any]) -> VLMRequest:
    """The last image of a conversation, and the questions of its last message. Raises ConfigError."""
    if body.get("stream"):
        raise ConfigError("stream isn't supported; valid: false")
    if body.get("n", 1) not in (None, 1):
        raise ConfigError("n isn't supported; valid: 1")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ConfigError("a request needs messages")
    parts = [part for message in messages for part in _parts(message)]
    urls = [p.get("image_url") for p in parts if p.get("type") in ("image_url", "input_image")]
    if not urls:
        raise ConfigError("a request needs an image: content of type image_url with a data URL")
    texts = [str(p.get("text", "")) for p in _parts(messages[-1]) if p.get("type") != "image_url"]
    return VLMRequest(_image(urls[-1]), find_questions("\n".join(texts)))


def _parts(message: Any) -> list[Mapping[str, Any]]:
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [p for p in content if isinstance(p, Mapping)] if isinstance(content, list) else []


def _image(url: Any) -> Image:
    """The image of a data URL; nothing is fetched. Raises ConfigError."""
    text = url.get("url") if isinstance(url, Mapping) else url
    if not isinstance(text, str) or not (match := _DATA_URL.match(text)):
        raise ConfigError("an image's url; valid: data:image/png;base64,... or data:image/jpeg;...")
    return _decoded(text[match.end() :])


def _decoded(data: Any) -> Image:
    try:
        return decode_image(base64.b64decode(data, validate=True), ("PNG", "JPEG", "WEBP"))
    except (binascii.Error, TypeError, ValueError):
        raise ConfigError("an image isn't base64") from None


def _systemone_request(body: Mapping[str, Any]) -> tuple[list[str], VLMRequest]:
    """Names of the questions, and the request. Raises ConfigError."""
    asked, assets = body.get("questions"), body.get("assets")
    if not isinstance(asked, Mapping) or not asked:
        raise ConfigError("a request needs questions by name")
    if not isinstance(assets, Mapping) or len(assets) != 1:
        raise ConfigError("a request needs one image in assets")
    asset = next(iter(assets.values()))
    questions = []
    for name, question in asked.items():
        if not isinstance(question, Mapping) or question.get("type") != "noul":
            raise ConfigError(f"question {name}: valid: type noul, which is yes or no")
        questions.append(parse_question(str(question.get("instructions", ""))))
    data = asset.get("data_base64") if isinstance(asset, Mapping) else None
    return list(asked), VLMRequest(_decoded(data), tuple(questions))


def _completion(body: Mapping[str, Any], answers: Sequence[Answer], name: str) -> dict[str, Any]:
    """A chat completion: one answer in words, or several as a JSON object; with log-probabilities if asked for."""
    if len(answers) == 1:
        pieces: list[tuple[str, Answer | None]] = [(_word(answers[0]), answers[0])]
    else:
        pieces = [("{", None)]
        for i, answer in enumerate(answers, 1):
            pieces += [(f'"{i}": "', None), (_word(answer), answer), ('", ', None)]
        pieces[-1] = ('"}', None)
    tokens = [_token(text, answer) for text, answer in pieces]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(t for t, _ in pieces)},
        "finish_reason": "stop",
        "logprobs": {"content": tokens} if body.get("logprobs") else None,
    }
    return {
        "id": "chatcmpl-soar",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": str(body.get("model") or name),
        "choices": [choice],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def _word(answer: Answer) -> str:
    return _UNKNOWN if answer.p_yes is None else "yes" if answer.p_yes >= 0.5 else "no"


def _token(text: str, answer: Answer | None) -> dict[str, Any]:
    """A token with its alternatives: yes and no for an answer, itself for anything else."""
    if answer is None or answer.p_yes is None:
        ways = [(text, 1.0)]
    else:
        ways = sorted([("yes", answer.p_yes), ("no", 1 - answer.p_yes)], key=lambda w: -w[1])
    listed = [
        {"token": word, "logprob": math.log(max(p, _LEAST)), "bytes": list(word.encode())}
        for word, p in ways
    ]
    return {**listed[0], "top_logprobs": listed}


def _problem(error: SoarError) -> Response:
    """An error as OpenAI's servers send it."""
    client = isinstance(error, ConfigError)
    kind = "invalid_request_error" if client else "server_error"
    body = {"message": str(error), "type": kind, "param": None, "code": None}
    return JSONResponse({"error": body}, 400 if client else 503)
