"""Websocket in the protocol of vla-eval (AllenAI's evaluation harness), version 1."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from soar import __version__
from soar.contract.contract import Contract
from soar.errors import ConfigError, SoarError
from soar.serving.follower import Session
from soar.serving.openpi_routes import receive, refuse
from soar.serving.policy_service import PolicyService
from soar.serving.requests import act_request
from soar.utils.wire import is_mapping, pack

_ROTATIONS = {"rpy": "euler_xyz", "rotvec": "axis_angle", "quaternion_xyzw": "quaternion_xyzw"}
"""vla-eval's names of rotations."""
_GRIPPERS = {
    (0.0, 1.0): "continuous_01",
    (1.0, 0.0): "binary_close_01",
    (1.0, -1.0): "binary_close_positive",
}
"""vla-eval's names of grippers, by the values of closed and open."""


def vla_eval_routes(service: PolicyService) -> list[BaseRoute]:
    """Return the routes of a served policy."""

    async def serve(socket: WebSocket) -> None:
        await socket.accept()
        try:
            with service.connection() as number:
                session = Session(number)
                while True:
                    message = await receive(socket)
                    if reply := await _reply(service, message, session):
                        await socket.send_bytes(pack(reply, "vla-eval"))
        except WebSocketDisconnect:
            pass
        except SoarError as error:
            await refuse(socket, error)

    return [WebSocketRoute("/vla-eval", serve)]


async def _reply(service: PolicyService, message: Any, session: Session) -> dict[str, Any] | None:
    """Return the reply to a message; None for one without reply. Raises ConfigError: it is no message."""
    if not is_mapping(message) or not {"type", "payload", "seq"} <= set(message):
        raise ConfigError("a message has type, payload, seq and timestamp")
    if not isinstance(message["type"], str):
        raise ConfigError(f"message type {message['type']!r:.40}; valid: text")
    envelope = {"seq": message["seq"], "timestamp": time.time()}
    kind, payload = message["type"], message["payload"]
    if kind == "hello":
        return {"type": "hello", "payload": hello(service), **envelope}
    if kind in ("episode_start", "episode_end", "error"):
        service.begin_episode(session)
        return None
    try:
        action = await _act(service, kind, payload, session)
    except SoarError as error:
        return {"type": "error", "payload": {"error": f"observation_failed: {error}"}, **envelope}
    return {"type": "action", "payload": {"actions": action}, **envelope}


async def _act(service: PolicyService, kind: Any, payload: Any, session: Session) -> Any:
    if kind != "observation" or not is_mapping(payload):
        raise ConfigError(
            f"message type '{kind!s:.40}'; valid: hello, observation, episode_start, episode_end"
        )
    request = act_request(session, payload, service.follower.contract)
    [reply] = await service.act([request], session.number)
    return reply.actions if service.follower.horizon > 1 else reply.actions[0]


def hello(service: PolicyService) -> dict[str, Any]:
    """Return the server's part of the handshake, with the meaning of its actions in vla-eval's words."""
    policy, contract = service.follower.policy, service.follower.contract
    return {
        "harness_version": f"soar {__version__}",
        "protocol_version": 1,
        "model_server": policy.name,
        "capabilities": {},
        "observation_params": {"send_state": True},
        "action_spec": _action_spec(contract),
        "observation_spec": {
            "image": {"name": "image", "dims": 0, "format": "rgb_hwc_uint8"},
            "language": {"name": "language", "dims": 0, "format": "language"},
        },
    }


def _action_spec(contract: Contract) -> Mapping[str, Any]:
    """The action's parts as vla-eval's DimSpecs; none where it has no words for them."""
    action = contract.action
    if action.space != "end_effector" or action.rotation not in _ROTATIONS:
        return {}
    spec: dict[str, dict[str, Any]] = {
        "position": {"name": "position", "dims": 3, "format": f"{action.reference}_xyz"},
        "rotation": {
            "name": "rotation",
            "dims": action.motion_dim - 3,
            "format": _ROTATIONS[action.rotation],
        },
    }
    if action.gripper is not None:
        ends = (action.gripper.closed, action.gripper.open)
        spec["gripper"] = {
            "name": "gripper",
            "dims": 1,
            "format": _GRIPPERS.get(ends, "raw"),
            "range": sorted(ends),
        }
    return spec
