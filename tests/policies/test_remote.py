"""Policies that other programs serve, against real servers in openpi's and OpenVLA's manner."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import Server
from websockets.sync.server import serve as serve_socket

from soar.contract.contract import ActionNumbers, Contract, Gripper, Numbers
from soar.errors import BadOutput, ConfigError, ModelUnavailable
from soar.policies.chunks import ChunkBroker
from soar.policies.remote.actions import Meaning
from soar.policies.remote.openpi import _declared, _side
from soar.policies.remote.options import pad_to
from soar.registry import load_policy, policy_spec
from soar.types import Observation
from soar.utils.wire import pack, unpack

LEFT = "move the green block to the left side"
OTHERS = Contract(
    ActionNumbers(rotation="rotvec", turn="left", gripper=Gripper(1, -1), scale=(0.05,) * 6),
    Numbers(rotation="quaternion_xyzw", gripper=Gripper(0, 0.08)),
)
"""A contract unlike the packaged arm's in rotation, gripper and scale."""


class Answers:
    """A server in openpi's manner, made of nothing of `soar.serving`."""

    def __init__(self, metadata: dict[str, Any], answer: Callable[[Any], Any]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self._metadata, self._answer = metadata, answer
        self._server: Server = serve_socket(self._serve, "127.0.0.1", 0, compression=None)
        self.port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def name(self) -> str:
        return f"openpi:ws://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()

    def _serve(self, socket: Any) -> None:
        self.connections += 1
        socket.send(pack(self._metadata))
        for message in socket:
            request = unpack(message)
            self.requests.append(request)
            answer = self._answer(request)
            socket.send(answer if isinstance(answer, str) else pack(answer))


@contextmanager
def answering(answer: Callable[[Any], Any], **metadata: Any) -> Iterator[Answers]:
    server = Answers(metadata, answer)
    try:
        yield server
    finally:
        server.close()


def chunk(*rows: float) -> Callable[[Any], Any]:
    """Answers chunks whose actions are these numbers, seven times each."""
    return lambda _: {"actions": np.repeat(np.array(rows, np.float32)[:, None], 7, 1)}


def seen(value: int = 7, side: int = 64) -> Observation:
    state = np.array([0.3, 0.1, 0.1, 0.1, -0.2, 0.3, 0.5], np.float32)
    return Observation(np.full((side, 2 * side, 3), value, np.uint8), state, 0.0)


def named(tmp_path: Path, name: str, options: str) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text(f"policy: {name}\noptions: {options}\n")
    return str(path)


def test_each_robot_has_a_connection_and_gets_its_own_answer() -> None:
    with answering(lambda r: {"actions": np.full((1, 7), r["observation/image"].max())}) as server:
        policy = load_policy(server.name)
        observations = [seen(value) for value in (1, 2, 3)]
        actions = policy.act(observations, [LEFT] * 3, np.random.default_rng(0))
        assert actions[:, 0].tolist() == [1, 2, 3]
        assert server.connections == 3
        request = server.requests[0]
        assert set(request) == {"observation/image", "observation/state", "prompt"}
        assert request["observation/image"].shape == (224, 224, 3)
        assert request["prompt"] == LEFT


def test_goals_and_words_go_by_the_keys_of_the_options(tmp_path: Path) -> None:
    options = "{keys: {image: cam, state: '', instruction: text, goal: target}, resize: 0, key: SOAR_TEST_KEY}"
    with answering(chunk(0.5)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOAR_TEST_KEY", "x")
        policy: Any = load_policy(named(tmp_path, server.name, options))
        policy.reset()
        policy.instruct([LEFT])
        goals = np.zeros((1, 32, 32, 3), np.uint8)
        policy.act([seen()], goals, np.random.default_rng(0))
        [request] = server.requests
        assert set(request) == {"cam", "text", "target"}
        assert request["cam"].shape == (64, 128, 3)
        assert (request["text"], request["target"].shape) == (LEFT, (32, 32, 3))


def test_chunks_are_executed_before_the_next_request(tmp_path: Path) -> None:
    with answering(chunk(0, 1, 2, 3)) as server:
        policy = load_policy(named(tmp_path, server.name, "{chunk: 3}"))
        assert isinstance(policy, ChunkBroker)
        rng = np.random.default_rng(0)
        actions = [policy.act([seen()], [LEFT], rng)[0, 0] for _ in range(4)]
        assert actions == [0, 1, 2, 0]
        assert len(server.requests) == 2
        policy.reset()
        policy.act([seen()], [LEFT], rng)
        assert len(server.requests) == 3


def test_actions_are_converted_from_the_declared_contract(tmp_path: Path) -> None:
    """A quarter turn about x, given as a rotation vector in units of 0.05 rad, and an open gripper as -1."""
    turn = np.array([[1, 0, 0, 0.1 / 0.05, 0, 0, -1]], np.float32)
    options = (
        "{contract: {action: {rotation: rotvec, turn: left, gripper: {closed: 1, open: -1}, "
        "scale: [0.05, 0.05, 0.05, 0.05, 0.05, 0.05]}, "
        "state: {rotation: quaternion_xyzw, gripper: {closed: 0, open: 0.08}}}}"
    )
    with answering(lambda _: {"actions": turn}) as server:
        policy = load_policy(named(tmp_path, server.name, options))
        level = Observation(seen().image, np.array([0.3, 0, 0.1, 0, 0, 0, 1], np.float32), 0.0)
        [action] = policy.act([level], [LEFT], np.random.default_rng(0))
        assert action == pytest.approx([0.05, 0, 0, 0.1, 0, 0, 1], abs=1e-6)
        sent = server.requests[0]["observation/state"]
        assert sent == pytest.approx([0.3, 0, 0.1, 0, 0, 0, 1, 0.08], abs=1e-6)


def test_conversion_and_its_inverse_give_the_same_motion() -> None:
    forth, back = Meaning(OTHERS, None), Meaning(Contract(), OTHERS)
    rng = np.random.default_rng(0)
    states = [np.r_[rng.uniform(-0.3, 0.3, 6), 0.5].astype(np.float32) for _ in range(4)]
    chunks = np.concatenate(
        [rng.uniform(-0.05, 0.05, (4, 3, 6)), rng.uniform(0, 1, (4, 3, 1))], -1
    ).astype(np.float32)
    theirs = back.actions(chunks, forth.states(states), "x")
    assert not np.allclose(theirs, chunks, atol=0.01)
    assert np.allclose(forth.actions(theirs, states, "x"), chunks, atol=1e-5)


def test_a_contract_like_the_robots_changes_no_bit() -> None:
    numbers = np.random.default_rng(0).normal(size=(2, 3, 7)).astype(np.float32)
    same = Meaning(Contract(), None)
    states = [seen().state] * 2
    assert np.array_equal(same.actions(numbers, states, "x"), numbers)
    assert all(a is b for a, b in zip(same.states(states), states, strict=True))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"actions": np.zeros((1, 6), np.float32)}, r"shape \(1, 1, 6\); valid: 1 chunks of 7"),
        ({"actions": np.full((1, 7), math.nan)}, "aren't finite"),
        ({"actions": "none"}, "aren't numbers"),
        ({}, "gave actions of shape"),
    ],
)
def test_bad_answers_are_named(answer: Any, words: str) -> None:
    with answering(lambda _: answer) as server:
        policy = load_policy(server.name)
        with pytest.raises(BadOutput, match=words):
            policy.act([seen()], [LEFT], np.random.default_rng(0))


def test_a_servers_traceback_is_its_last_line_and_the_next_request_connects_anew() -> None:
    answers = iter(["Traceback ...\n  File x\nValueError: no such prompt", chunk(1)({})])
    with answering(lambda _: next(answers)) as server:
        policy = load_policy(server.name)
        with pytest.raises(ModelUnavailable, match=r"ValueError: no such prompt$"):
            policy.act([seen()], [LEFT], np.random.default_rng(0))
        assert policy.act([seen()], [LEFT], np.random.default_rng(0))[0, 0] == 1
        assert server.connections == 2


def test_a_silent_server_is_unavailable_within_its_time(tmp_path: Path) -> None:
    hold = threading.Event()

    def slow(request: Any) -> Any:
        if request["observation/image"].max() == 9:
            hold.wait(5)
        return chunk(1)(request)

    with answering(slow) as server:
        policy = load_policy(named(tmp_path, server.name, "{timeout_s: 0.1}"))
        policy.act([seen()], [LEFT], np.random.default_rng(0))
        with pytest.raises(ModelUnavailable, match=r"no answer within 0.1 s"):
            policy.act([seen(9)], [LEFT], np.random.default_rng(0))
        hold.set()


def test_a_server_that_is_gone_is_unavailable() -> None:
    first = Answers({}, chunk(1))
    policy = load_policy(first.name)
    policy.act([seen()], [LEFT], np.random.default_rng(0))
    first.close()
    with pytest.raises(ModelUnavailable):
        policy.act([seen()], [LEFT], np.random.default_rng(0))
    with pytest.raises(ModelUnavailable, match="can't be reached"):
        policy.act([seen()], [LEFT], np.random.default_rng(0))


@pytest.mark.parametrize(
    ("metadata", "options", "words"),
    [
        ({"action_dim": 8}, "{}", "gives 8 numbers, not 7"),
        ({"available_unnorm_keys": ["bridge"]}, "{unnorm_key: fractal}", "valid: bridge"),
        ({}, "{resize: big}", "resize"),
        ({}, "{gripper: pm1}", "unknown key 'gripper'"),
        (
            {"soar": {"contract": {"period_s": 0.2}}},
            "{contract: {action: {gripper: {closed: 1, open: 0}}}}",
            "action.gripper is 1 closed to 0 open in the options, and 0 closed to 1 open there",
        ),
    ],
)
def test_what_server_and_options_say_is_compared(
    tmp_path: Path, metadata: Any, options: str, words: str
) -> None:
    with answering(chunk(0), **metadata) as server, pytest.raises(ConfigError, match=words):
        load_policy(named(tmp_path, server.name, options))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("openpi:ws://127.0.0.1:1", "can't be reached"),
        ("openpi:http://127.0.0.1:1", "no address; valid: ws://"),
        ("openpi:ws://127.0.0.1:87x", "no address; valid: ws://"),
        ("openpi:ws://", "no address; valid: ws://"),
        ("openpi:ws://127.0.0.1:1#NO_SUCH_KEY", "NO_SUCH_KEY isn't set"),
        ("openvla:http://127.0.0.1:1", "can't be reached"),
        ("openvla:127.0.0.1", "no address; valid: http://"),
    ],
)
def test_wrong_addresses_are_one_line(name: str, words: str) -> None:
    with pytest.raises((ModelUnavailable, ConfigError), match=words):
        load_policy(name)


def test_samples_for_steering_come_in_one_batch(tmp_path: Path) -> None:
    with answering(chunk(0.5)) as server:
        path = named(tmp_path, server.name, "{noise_std: [0.01, 0.01, 0.01]}")
        policy: Any = load_policy(path)
        samples = policy.sample([seen(1), seen(2)], [LEFT, LEFT], np.random.default_rng(0), 3)
        assert samples.shape == (2, 3, 1, 7)
        assert (samples[:, 0, 0] == 0.5).all(), "the first is the policy's own answer"
        assert np.ptp(samples[..., 0]) > 0
        assert (samples[..., 3:] == 0.5).all()


def test_a_component_file_is_read_with_its_options(tmp_path: Path) -> None:
    spec = policy_spec(named(tmp_path, "openpi:ws://gpu1:8000", "{chunk: 4}"))
    assert (spec.kind, spec.source, dict(spec.options)) == (
        "openpi",
        "ws://gpu1:8000",
        {"chunk": 4},
    )
    (tmp_path / "bad.yaml").write_text("vlm: compact\n")
    with pytest.raises(ConfigError, match="'policy' is missing"):
        policy_spec(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize("side", [(64, 128), (128, 64), (50, 33), (224, 224)])
def test_images_are_padded_to_a_square(side: Sequence[int]) -> None:
    image = np.full((*side, 3), 200, np.uint8)
    padded = pad_to(image, 224)
    assert padded.shape == (224, 224, 3)
    assert padded[112, 112].tolist() == [200] * 3
    assert bool(padded[0, 0].any()) is (side[0] == side[1])


@pytest.mark.parametrize("contract", ["x", 5, [1], {"a": 1}])
def test_what_a_server_declares_must_be_a_contract(contract: object) -> None:
    with pytest.raises(ConfigError, match=r"contract of ws://host.*valid"):
        _declared({"contract": contract}, "ws://host")


@pytest.mark.parametrize(("said", "side"), [([224, 200], 224), (["a", 2], 0), (7, 0), ([], 0)])
def test_images_stay_as_they_are_where_a_server_names_no_resolution(
    said: object, side: int
) -> None:
    assert _side({"image_resolution": said}) == side
