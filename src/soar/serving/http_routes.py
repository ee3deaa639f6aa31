"""HTTP of OpenVLA and AutoEval: `/act`, `/reset` and `/susie`, with arrays as json-numpy or nested lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from soar.errors import BadOutput, ConfigError, SoarError
from soar.interfaces import SubgoalGenerator
from soar.serving.batching import Batcher
from soar.serving.policy_service import PolicyService
from soar.serving.requests import act_request, image_of, seed_of
from soar.tasks.grammar import parse_instruction
from soar.types import Image, image_only
from soar.utils.wire import from_json, is_mapping, to_json


class Payload(NamedTuple):
    """A request's values, and whether they came as JSON in a string, for clients without json-numpy's patch."""

    values: Mapping[str, Any]
    is_encoded: bool


class SubgoalRequest(NamedTuple):
    """A request for a subgoal."""

    image: Image
    instruction: str
    seed: int | None


def act_routes(service: PolicyService) -> list[BaseRoute]:
    """Return the routes of a served policy."""

    async def act(request: Request) -> Response:
        try:
            payload = await read_payload(request)
            name = _session_name(request, payload.values)
            session = service.http_session(name)
            wanted = act_request(session, payload.values, service.follower.contract)
            reply = await service.act_once(name, wanted._replace(most=1))
        except SoarError as error:
            return problem(error)
        return _array_response(reply.actions[0], payload)

    async def reset(request: Request) -> Response:
        try:
            payload = await read_payload(request)
        except SoarError as error:
            return problem(error)
        service.begin_episode(service.http_session(_session_name(request, payload.values)))
        return JSONResponse({"status": "reset successful"})

    async def metadata(request: Request) -> Response:
        return JSONResponse(service.metadata())

    return [
        Route("/act", act, methods=["POST"]),
        Route("/reset", reset, methods=["POST"]),
        Route("/metadata", metadata),
    ]


def susie_routes(generator: SubgoalGenerator, wait_s: float, seed: int = 0) -> list[BaseRoute]:
    """Return the routes of a served subgoal generator.

    Args:
        generator: the generator.
        wait_s: longest wait of a request for those of other clients.
        seed: of the random numbers of requests without one.
    """
    rng = np.random.default_rng(seed)

    def generate(requests: Sequence[SubgoalRequest]) -> list[Image | SoarError]:
        """Generate all images of one size without a seed at once, and each of the others alone."""
        images: dict[int, Image] = {}
        groups: dict[Any, list[int]] = {}
        for i, r in enumerate(requests):
            key = (r.image.shape, None if r.seed is None else i)
            groups.setdefault(key, []).append(i)
        for group in groups.values():
            chosen = [requests[i] for i in group]
            seeded = chosen[0].seed
            found = generator.generate(
                image_only(np.stack([r.image for r in chosen])),
                [parse_instruction(r.instruction) for r in chosen],
                rng if seeded is None else np.random.default_rng(seeded),
            )
            images.update(zip(group, found, strict=True))
        return [images[i] for i in range(len(requests))]

    batcher: Batcher[SubgoalRequest, Image] = Batcher(generate, wait_s)

    async def susie(request: Request) -> Response:
        try:
            payload = await read_payload(request)
            with batcher.client():
                [image] = await batcher.submit([_subgoal_request(payload.values)])
        except SoarError as error:
            return problem(error)
        return _array_response(image, payload)

    return [Route("/susie", susie, methods=["POST"])]


async def read_payload(request: Request) -> Payload:
    """Return the values of a request's body, {} for an empty one. Raises ConfigError."""
    body = await request.body()
    values = from_json(body) if body.strip() else {}
    if is_mapping(values) and isinstance(values.get("encoded"), str):
        if len(values) > 1:
            raise ConfigError("a request with 'encoded' holds nothing else")
        return Payload(_mapping(from_json(values["encoded"])), True)
    return Payload(_mapping(values), False)


def problem(error: SoarError) -> Response:
    """Return an error as a response: 400 for a mistake of the client, 500 for the model's."""
    status = 400 if isinstance(error, ConfigError) else 500 if isinstance(error, BadOutput) else 503
    return JSONResponse({"error": " ".join(str(error).split())}, status)


def _mapping(values: Any) -> Mapping[str, Any]:
    if not is_mapping(values):
        raise ConfigError("a request is a JSON object")
    return values


def _session_name(request: Request, values: Mapping[str, Any]) -> str:
    return str(values.get("session") or (request.client.host if request.client else ""))


def _subgoal_request(values: Mapping[str, Any]) -> SubgoalRequest:
    text = str(values.get("text") or values.get("instruction") or "")
    if "image" not in values or not text.strip():
        raise ConfigError("a request needs 'image' and 'text'")
    return SubgoalRequest(image_of(values["image"]), text, seed_of(values.get("seed")))


def _array_response(array: NDArray[Any], payload: Payload) -> Response:
    """An array in the form in which the image came: json-numpy, such text in a JSON string, or nested lists."""
    if payload.is_encoded:
        return JSONResponse(to_json(array))
    if isinstance(payload.values.get("image"), list):
        return JSONResponse(array.tolist())
    return Response(to_json(array), media_type="application/json")
