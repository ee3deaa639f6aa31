"""What clients of other programs send and get, over real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from soar.contract.contract import Camera, Contract
from soar.data.store.images import decode, encode
from soar.registry import load_vlm
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import ToyPolicy, ToySubgoals, ToyVLM
from soar.serving.http_routes import susie_routes
from soar.serving.vlm_routes import vlm_routes
from soar.tasks.questions import parse_question
from soar.utils.media import encode_png
from soar.utils.wire import from_json, pack, to_json, unpack

from .conftest import Running, SharedToy, observation, policy_routes

WEB = httpx.Client(verify=False)
"""One client for all tests: each would read the certificates anew."""


def opened(server: Running, path: str = "/", **options: Any) -> Any:
    return connect(server.ws + path, compression=None, max_size=None, **options)


@pytest.mark.parametrize("path", ["/", "/v1/realtime/robot/openpi"])
def test_openpi_gets_metadata_first_and_then_actions(toy_server: Running, path: str) -> None:
    with opened(toy_server, path) as socket:
        metadata = unpack(socket.recv())
        assert (metadata["name"], metadata["action_dim"]) == ("toy-policy", 7)
        assert metadata["soar"]["contract"]["action"]["rotation"] == "rpy"
        socket.send(pack({**observation(), "observation/want_subgoal": True}))
        reply = unpack(socket.recv())
    assert reply["actions"].shape == (1, 7)
    assert reply["actions"].dtype == np.float32
    assert reply["server_timing"]["infer_ms"] > 0
    assert decode(reply["subgoal"]).shape == (32, 32, 3)


def test_a_policy_of_several_cameras_says_which_it_needs(serve: Callable[..., Running]) -> None:
    class Three(SharedToy):
        contract = Contract(cameras=(Camera("front"), Camera("side"), Camera("wrist")))

    with opened(serve(policy_routes(Three()))) as socket:
        metadata = unpack(socket.recv())
    assert (metadata["n_external_cameras"], metadata["needs_wrist_camera"]) == (2, True)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"prompt": "x"}, "needs an image"),
        ({"observation/image": np.zeros((4, 4, 3), np.uint8)}, "needs an instruction"),
        ({**observation(), "observation/state": np.zeros(6)}, "a state has 6 numbers; valid: 7"),
        ({**observation(), "observation/image": np.zeros((4, 4))}, "valid: uint8 of shape"),
        ({**observation(), "soar/seed": -1}, "seed is -1"),
        ({"batch": []}, "a batch is a list"),
        ({"batch": "x" * 100_000}, "a batch is a list of 1 to 1000 observations"),
        ({"batch": [{}] * 1001}, "a batch is a list of 1 to 1000 observations"),
        ({**observation(), "prompt": np.zeros(7)}, "an instruction is [0.0"),
        ({**observation(), "prompt": [[1], [2, 3]]}, "an instruction is [[1], [2, 3]]"),
        ({**observation(), "soar/reset": np.zeros(7)}, "soar/reset is array"),
        ({**observation(), "soar/last": ["a"] * 7}, "soar/last isn't an action; valid: 7 finite"),
        ({**observation(), "observation/state": [2**63] * 6}, "a state has 6 numbers"),
        ({**observation(), "observation/want_subgoal": "yes"}, "observation/want_subgoal is 'yes'"),
    ],
)
def test_a_wrong_request_is_answered_by_one_line(
    toy_server: Running, message: Any, words: str
) -> None:
    with opened(toy_server) as socket:
        socket.recv()
        socket.send(pack(message))
        reply = socket.recv()
        assert isinstance(reply, str)
        assert words in reply
        assert "\n" not in reply
        with pytest.raises(ConnectionClosedError) as closed:
            socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011


@pytest.mark.parametrize("path", ["/", "/vla-eval"])
@pytest.mark.parametrize(
    "message",
    [
        {b"__npgeneric__": True, b"dtype": "|i1", b"data": 1000},
        {"type": np.zeros(2), "payload": {}, "seq": 1},
        {"endpoint": np.zeros(2)},
    ],
)
def test_what_no_client_sends_is_one_line_too(
    toy_server: Running, path: str, message: dict[Any, Any]
) -> None:
    with opened(toy_server, path) as socket:
        if path == "/":
            socket.recv()
        socket.send(pack(message))
        reply = socket.recv()
        text = reply if isinstance(reply, str) else unpack(reply)["error"]["message"]
        assert text
        assert "\n" not in text


def test_damaged_bytes_end_only_their_own_connection(toy_server: Running) -> None:
    with opened(toy_server) as good, opened(toy_server) as bad:
        good.recv(), bad.recv()
        bad.send(b"\xc1\xc1")
        assert "no message" in bad.recv()
        good.send(pack(observation()))
        assert unpack(good.recv())["actions"].shape == (1, 7)


def test_images_come_in_the_shapes_that_clients_send(toy_server: Running, toy: SharedToy) -> None:
    plain = observation()
    image = plain.pop("observation/image")
    forms = [
        {"images": {"cam_high": np.ascontiguousarray(image.transpose(2, 0, 1))}},
        {"observation/exterior_image_1_left": image},
        {"observation/image": encode_png(image)},
        {"image": image.tolist()},
    ]
    with opened(toy_server) as socket:
        socket.recv()
        actions = []
        for form in forms:
            socket.send(pack({**plain, **form, "soar/reset": True, "soar/seed": 3}))
            actions.append(unpack(socket.recv())["actions"])
    assert all(np.array_equal(a, actions[0]) for a in actions)


def test_roboarena_resets_by_a_request(toy_server: Running) -> None:
    with opened(toy_server) as socket:
        socket.recv()
        socket.send(pack({**observation(), "endpoint": "infer"}))
        assert unpack(socket.recv())["actions"].shape == (1, 7)
        socket.send(pack({"endpoint": "reset"}))
        assert socket.recv() == "reset successful"


def test_starvla_gets_its_envelope_with_errors_inside(toy_server: Running) -> None:
    seen = observation()
    example = {
        "image": [seen["observation/image"]],
        "lang": seen["prompt"],
        "state": seen["observation/state"],
    }
    with opened(toy_server) as socket:
        socket.recv()
        for message, ok in (
            ({"type": "ping", "request_id": "1"}, True),
            (
                {"type": "infer", "request_id": "2", "payload": {"examples": [example, example]}},
                True,
            ),
            ({"examples": [example], "unnorm_key": "bridge"}, True),
            ({"type": "infer", "payload": {"examples": [{"lang": "x"}]}}, False),
            ({"type": "train"}, False),
        ):
            socket.send(pack(message))
            reply = unpack(socket.recv())
            assert reply["ok"] is ok, reply
            if "examples" in str(message.get("payload", "")) and ok:
                assert reply["data"]["actions"].shape == (2, 1, 7)
                assert reply["request_id"] == "2"


def test_vla_eval_is_answered_in_its_envelope(toy_server: Running) -> None:
    seen = observation()
    payload = {
        "images": {"primary": seen["observation/image"]},
        "task_description": seen["prompt"],
        "states": seen["observation/state"],
    }

    def ask(kind: str, body: Any, seq: int) -> None:
        message = {"type": kind, "payload": body, "seq": seq, "timestamp": 0.0}
        socket.send(pack(message, "vla-eval"))

    with opened(toy_server, "/vla-eval") as socket:
        ask("hello", {"protocol_version": 1}, 1)
        hello = unpack(socket.recv())
        assert (hello["type"], hello["seq"]) == ("hello", 1)
        assert hello["payload"]["action_spec"]["rotation"]["format"] == "euler_xyz"
        ask("episode_start", {"task": {}}, 2)
        ask("observation", payload, 3)
        reply = unpack(socket.recv())
        assert (reply["type"], reply["seq"]) == ("action", 3)
        assert reply["payload"]["actions"].shape == (7,)
        ask("observation", {"task_description": "x"}, 4)
        assert unpack(socket.recv())["type"] == "error"
        ask("observation", payload, 5)
        assert unpack(socket.recv())["seq"] == 5, "an error doesn't end the connection"


def test_act_takes_json_numpy_encoded_text_and_lists(toy_server: Running) -> None:
    seen = observation()
    request = {
        "image": seen["observation/image"],
        "instruction": seen["prompt"],
        "proprio": seen["observation/state"],
        "seed": 1,
    }
    url = f"{toy_server.http}/act"
    plain = from_json(WEB.post(url, content=to_json(request)).content)
    encoded = WEB.post(url, json={"encoded": to_json(request)}).json()
    listed = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in request.items()}
    assert plain.shape == (7,)
    assert np.array_equal(from_json(encoded), plain)
    assert np.array_equal(np.array(WEB.post(url, json=listed).json(), np.float32), plain)
    assert WEB.post(f"{toy_server.http}/reset").json() == {"status": "reset successful"}
    refused = WEB.post(url, json={"image": 3, "instruction": "x"})
    assert refused.status_code == 400
    assert "valid: uint8" in refused.json()["error"]
    assert WEB.post(url, content=b"{").status_code == 400


def test_eight_clients_at_once_are_batched(serve: Callable[..., Running], toy: SharedToy) -> None:
    server, ready = serve(policy_routes(toy, wait_s=0.5)), threading.Barrier(8)

    def client(index: int) -> list[Any]:
        seen, actions = observation(index), []
        with opened(server) as socket:
            socket.recv()
            for _ in range(3):
                ready.wait()
                socket.send(pack(seen))
                actions.append(unpack(socket.recv())["actions"])
            ready.wait()
        return actions

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(client, range(8)))
    assert toy.batches == [8, 8, 8], "forward passes"
    for index, actions in enumerate(found):
        alone = ToyPolicy().act(
            [ToyRobot(index).observe()], [observation()["prompt"]], np.random.default_rng(0)
        )
        assert np.array_equal(actions[0], alone)


def test_a_key_is_needed_where_one_is_set(serve: Callable[..., Running], toy: SharedToy) -> None:
    server = serve(policy_routes(toy), secret="s3cret")
    for headers in ({}, {"Authorization": "Api-Key wrong"}):
        with pytest.raises(InvalidStatus):
            opened(server, additional_headers=headers)
        assert WEB.post(f"{server.http}/act", headers=headers, json={}).status_code == 401
    assert WEB.get(f"{server.http}/healthz").text == "OK\n"
    with opened(server, additional_headers={"Authorization": "Api-Key s3cret"}) as socket:
        assert unpack(socket.recv())["name"] == "toy-policy"
    known = {"Authorization": "Bearer s3cret"}
    assert WEB.get(f"{server.http}/metadata", headers=known).status_code == 200


def test_pages_of_other_origins_are_refused(toy_server: Running) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        assert WEB.get(f"{toy_server.http}/metadata", headers=headers).status_code == 403
    with pytest.raises(InvalidStatus):
        opened(toy_server, additional_headers={"Origin": "http://evil.example"})


def test_susie_repeats_a_seeds_image(serve: Callable[..., Running]) -> None:
    server = serve(susie_routes(ToySubgoals(), 0.005))
    image = observation()["observation/image"]
    request = {"image": image, "text": observation()["prompt"]}

    def ask(**more: Any) -> Any:
        reply = WEB.post(f"{server.http}/susie", content=to_json({**request, **more}))
        return from_json(reply.content)

    assert ask().shape == image.shape
    seeded = [ask(seed=s).tobytes() for s in (4, 4, 5, 6, 7)]
    assert seeded[0] == seeded[1]
    assert len(set(seeded)) > 1
    listed = WEB.post(f"{server.http}/susie", json={**request, "image": image.tolist()}).json()
    assert np.array(listed).shape == image.shape
    assert WEB.post(f"{server.http}/susie", json={"text": "x"}).status_code == 400


@pytest.mark.parametrize("kind", ["chat", "systemone"])
def test_a_served_vlm_gives_the_probabilities_of_the_one_in_process(
    serve: Callable[..., Running], kind: str
) -> None:
    server = serve(vlm_routes(ToyVLM(), 0.005))
    words = "Is the green block on the {} side of the table?"
    asked = [parse_question(words.format(side)) for side in ("left", "right")]
    image = ToyRobot(1).observe().image
    served = load_vlm(f"{kind}:toy@{server.http}/v1").answer([image], [asked])
    inside = ToyVLM().answer([image], [asked])
    for a, b in zip(served[0], inside[0], strict=True):
        assert a.p_yes == pytest.approx(b.p_yes, abs=1e-6)
        assert a.source != "word"


def test_openais_package_asks_a_served_vlm(serve: Callable[..., Running]) -> None:
    import base64

    import openai

    server = serve(vlm_routes(ToyVLM(), 0.005))
    client = openai.OpenAI(base_url=f"{server.http}/v1", api_key="none", max_retries=0)
    assert [m.id for m in client.models.list()] == ["toy-vlm"]
    png = base64.b64encode(encode_png(ToyRobot(1).observe().image)).decode()
    parts: Any = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}},
        {"type": "text", "text": "Is there a green block present?"},
    ]
    reply = client.chat.completions.create(
        model="toy", messages=[{"role": "user", "content": parts}], logprobs=True, top_logprobs=2
    )
    assert reply.choices[0].message.content == "yes"
    assert reply.choices[0].logprobs is not None
    assert reply.choices[0].logprobs.content
    with pytest.raises(openai.BadRequestError, match="needs an image"):
        client.chat.completions.create(model="toy", messages=[{"role": "user", "content": "Hi?"}])
    text = json.dumps(reply.model_dump())
    assert '"finish_reason": "stop"' in text


def test_a_jpeg_is_an_image_too(toy_server: Running) -> None:
    seen = observation()
    with opened(toy_server) as socket:
        socket.recv()
        socket.send(pack({**seen, "observation/image": encode(seen["observation/image"])}))
        assert unpack(socket.recv())["actions"].shape == (1, 7)
