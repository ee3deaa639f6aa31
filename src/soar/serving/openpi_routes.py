"""Websocket in openpi's protocol, with RoboArena's and starVLA's requests, and batches of soar's own clients.

    server: metadata                        client: {"observation/image": ..., "observation/state": ..., "prompt": ...}
    server: {"actions": (h, d), ...}        client: {"batch": [observation, ...]}
    server: {"actions": (n, h, d), ...}     client: {"endpoint": "reset"}
    server: "reset successful"

h is the policy's horizon, 1 unless it predicts chunks.

An error is a text of one line, after which the server closes the connection.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from soar.data.store.images import encode
from soar.errors import ConfigError, SoarError
from soar.serving.follower import ActReply, Session
from soar.serving.policy_service import PolicyService
from soar.serving.requests import WANT_SUBGOAL, act_request, flag
from soar.utils.wire import is_mapping, pack, unpack

PATHS = ("/", "/v1/realtime/robot/openpi")
"""Paths of the protocol: openpi's own, and vLLM-Omni's."""
_INTERNAL_ERROR = 1011
_MOST_ROBOTS = 1000
"""Most observations of a batch."""


def openpi_routes(service: PolicyService) -> list[BaseRoute]:
    """Return the routes of a served policy."""

    async def serve(socket: WebSocket) -> None:
        await socket.accept()
        try:
            with service.connection() as number:
                await Connection(service, number).serve(socket)
        except WebSocketDisconnect:
            pass
        except SoarError as error:
            await refuse(socket, error)

    return [WebSocketRoute(path, serve) for path in PATHS]


async def receive(socket: WebSocket) -> Any:
    """Return the next message. Raises WebSocketDisconnect, ConfigError."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    if message.get("bytes") is None:
        raise ConfigError("a message is text; valid: msgpack")
    return unpack(message["bytes"])


async def refuse(socket: WebSocket, error: SoarError) -> None:
    """Send an error as openpi's servers do, and close."""
    try:
        await socket.send_text(" ".join(str(error).split()))
        await socket.close(_INTERNAL_ERROR, "the text before says why")
    except (WebSocketDisconnect, RuntimeError):
        pass  # the client has gone


class Connection:
    """A client's connection: the observations of a batch are the robots of its sessions, by place."""

    def __init__(self, service: PolicyService, number: int) -> None:
        self._service, self._number = service, number
        self._sessions: list[Session] = []

    async def serve(self, socket: WebSocket) -> None:
        """Answer until the client goes. Raises WebSocketDisconnect, SoarError."""
        await socket.send_bytes(pack(self._service.metadata()))
        while True:
            reply = await self._reply(await receive(socket))
            if isinstance(reply, str):
                await socket.send_text(reply)
            else:
                await socket.send_bytes(pack(reply))

    async def _reply(self, message: Any) -> Mapping[str, Any] | str:
        if not is_mapping(message):
            raise ConfigError("a request is a dictionary with text as keys")
        endpoint = message.get("endpoint")
        if isinstance(endpoint, str) and endpoint == "reset":
            for session in self._sessions:
                self._service.begin_episode(session)
            return "reset successful"
        if "type" in message or "examples" in message:
            return await self._star_vla(message)
        many = message.get("batch")
        began = time.perf_counter()
        replies = await self._act([message] if many is None else many)
        timing = {"infer_ms": 1000 * (time.perf_counter() - began)}
        actions = np.stack([reply.actions for reply in replies])
        subgoals = [_jpeg(r, o) for r, o in zip(replies, many or [message], strict=True)]
        shown = {} if not any(subgoals) else {"subgoal": subgoals[0] if many is None else subgoals}
        return {
            "actions": actions[0] if many is None else actions,
            "server_timing": timing,
            **shown,
        }

    async def _act(self, observations: Any) -> list[ActReply]:
        """Return one reply to each observation. Raises SoarError."""
        if not isinstance(observations, list) or not 0 < len(observations) <= _MOST_ROBOTS:
            raise ConfigError(f"a batch is a list of 1 to {_MOST_ROBOTS} observations")
        if not all(is_mapping(observation) for observation in observations):
            raise ConfigError("an observation is a dictionary with text as keys")
        while len(self._sessions) < len(observations):
            self._sessions.append(Session(self._number))
        requests = []
        for session, observation in zip(self._sessions, observations, strict=False):
            requests.append(act_request(session, observation, self._service.follower.contract))
        return await self._service.act(requests, self._number)

    async def _star_vla(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the reply to starVLA's envelope, with an error in it."""
        request = {"request_id": message.get("request_id", "default")}
        kind = message.get("type", "infer")
        if isinstance(kind, str) and kind == "ping":
            return {"status": "ok", "ok": True, "type": "ping", **request}
        request["type"] = "inference_result"
        try:
            if not isinstance(kind, str) or kind not in ("infer", "predict_action"):
                raise ConfigError(f"message type '{kind!s:.40}'; valid: ping, infer")
            payload = message.get("payload", message)
            examples = payload.get("examples", [payload]) if is_mapping(payload) else None
            replies = await self._act(examples)
        except SoarError as error:
            return {"status": "error", "ok": False, **request, "error": {"message": str(error)}}
        actions = np.stack([reply.actions for reply in replies])
        return {"status": "ok", "ok": True, **request, "data": {"actions": actions}}


def _jpeg(reply: ActReply, observation: Mapping[str, Any]) -> bytes | None:
    """The pursued subgoal as a JPEG file, where it is asked for."""
    wanted = flag(WANT_SUBGOAL, observation.get(WANT_SUBGOAL))
    return encode(reply.subgoal) if wanted and reply.subgoal is not None else None
