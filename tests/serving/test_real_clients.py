"""The clients that other programs really use: openpi-client, vla-eval's connection, json-numpy.

`make test-clients` installs them, without their dependencies, into a folder of their own: openpi-client wants a numpy
below 2, which works with this one all the same.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soar.policies.remote.options import pad_to
from soar.robots.toy_models import ToySubgoals
from soar.utils.wire import from_json, pack, to_json, unpack

from .conftest import Running, SharedToy, observation, picture, policy_routes

FOLDER = Path(os.environ.get("SOAR_CLIENTS", Path.home() / ".cache" / "soar" / "envs" / "clients"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FOLDER / "openpi_client").exists(), reason="needs `make test-clients` once"
    ),
    pytest.mark.filterwarnings("ignore:connect:DeprecationWarning"),
]

EACH = pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        np.array([[0.1, -np.inf], [np.nan, 3]], np.float32),
        np.zeros((0, 7)),
        np.array([1, -2], ">i4"),
        np.array([True, False]),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
"""Images, actions, nothing, another byte order, and bools."""


def same(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.fixture(autouse=True, scope="module")
def _installed() -> Iterator[None]:
    sys.path.append(str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


@EACH
def test_the_codec_is_openpis_both_ways(array: Any) -> None:
    from openpi_client import msgpack_numpy as theirs

    message = {"observation/image": array, "prompt": "words", "n": 1.5}
    assert pack(message) == theirs.packb(message)
    assert same(theirs.unpackb(pack(message))["observation/image"], array)
    assert same(unpack(theirs.packb(message))["observation/image"], array)


@EACH
def test_the_codec_is_vla_evals_both_ways(array: Any) -> None:
    from vla_eval.protocol.messages import Message, MessageType, pack_message, unpack_message

    ours = {"type": "action", "payload": {"a": array}, "seq": 1, "timestamp": 0.0}
    assert same(unpack_message(pack(ours, "vla-eval")).payload["a"], array)
    sent = pack_message(Message(MessageType.OBSERVATION, {"a": array, "i": picture()}, 2))
    back = unpack(sent)["payload"]
    assert np.array_equal(back["i"], picture()), "PNG"
    if array.ndim < 3:
        assert same(back["a"], array)


@EACH
def test_the_json_is_json_numpys_both_ways(array: Any) -> None:
    import json_numpy

    assert same(np.asarray(json_numpy.loads(to_json(array))), np.asarray(array))
    assert same(np.asarray(from_json(json_numpy.dumps(array))), np.asarray(array))


def test_openpis_client_and_chunk_broker_get_actions(toy_server: Running) -> None:
    from openpi_client.action_chunk_broker import ActionChunkBroker
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    client = WebsocketClientPolicy("127.0.0.1", toy_server.port)
    assert client.get_server_metadata()["action_horizon"] == 1
    assert client.infer(observation())["actions"].shape == (1, 7)
    broker = ActionChunkBroker(client, action_horizon=1)
    assert broker.infer(observation())["actions"].shape == (7,)
    with pytest.raises(RuntimeError, match="needs an image"):
        client.infer({"prompt": "x"})


def test_openpis_client_brings_its_key(serve: Callable[..., Running], toy: SharedToy) -> None:
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    server = serve(policy_routes(toy), secret="s3cret")
    client = WebsocketClientPolicy("127.0.0.1", server.port, api_key="s3cret")
    assert client.infer(observation())["actions"].shape == (1, 7)


def test_images_are_padded_as_openpis_clients_do() -> None:
    from openpi_client.image_tools import resize_with_pad

    for side in ((64, 128, 3), (480, 640, 3), (51, 37, 3), (224, 224, 3)):
        image = np.random.default_rng(0).integers(0, 256, side, np.uint8)
        assert np.array_equal(pad_to(image, 224), resize_with_pad(image, 224, 224))


def test_vla_evals_connection_gets_actions_and_finds_no_mismatch(
    serve: Callable[..., Running], toy: SharedToy
) -> None:
    from vla_eval.connection import Connection
    from vla_eval.specs import (
        GRIPPER_01,
        IMAGE_RGB,
        LANGUAGE,
        POSITION_DELTA,
        ROTATION_EULER,
        DimSpec,
        check_specs,
    )

    server = serve(policy_routes(toy, ToySubgoals()))
    seen = observation()
    payload = {
        "images": {"primary": seen["observation/image"]},
        "task_description": seen["prompt"],
        "states": seen["observation/state"],
    }

    async def main() -> tuple[Any, Any]:
        async with Connection(f"{server.ws}/vla-eval") as connection:
            await connection.start_episode({"task": {"name": "t"}})
            action = await connection.act(payload)
            await connection.end_episode({"success": True})
            with pytest.raises(RuntimeError, match="needs an image"):
                await connection.act({"task_description": "x"})
            return connection.server_info, action

    info, action = asyncio.run(main())
    assert action["actions"].shape == (7,)
    specs = [
        {k: DimSpec.from_dict(v) for k, v in info[f"{part}_spec"].items()}
        for part in ("action", "observation")
    ]
    wanted = {"position": POSITION_DELTA, "rotation": ROTATION_EULER, "gripper": GRIPPER_01}
    given_ = {"image": IMAGE_RGB, "language": LANGUAGE}
    assert check_specs(specs[0], wanted, specs[1], given_) == []
