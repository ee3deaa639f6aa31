"""The client of bridge_data_robot's server, against the same wire and golden bytes of numpy 1."""

import json
import pickle
import pickletools
import threading
import time
from pathlib import Path

import numpy as np
import pytest

zmq = pytest.importorskip("zmq", reason="needs the extra `widowx`")
frame = pytest.importorskip("lz4.frame", reason="needs the extra `widowx`")

from soar.errors import ConfigError, RobotFault  # noqa: E402
from soar.robots.hardware.bridge import (  # noqa: E402
    JOINTS,
    BridgeRobot,
    decode_message,
    encode_message,
)

GOLDEN = Path(__file__).parent / "golden"
OBSERVATION = (GOLDEN / "bridge_observation_numpy1.bin").read_bytes()
CONFIG = {
    "port_number": 5556,
    "action_keys": ["init", "move", "gripper", "reset", "step_action", "reboot_motor"],
    "observation_keys": ["image", "state", "full_image"],
    "broadcast_port": 5557,
    "version": "0.0.1",
}


class Server:
    """A server with edgeml's wire: ZeroMQ replies of lz4-compressed pickles."""

    def __init__(self) -> None:
        self.received: list[dict] = []
        self.config, self.status, self.late = dict(CONFIG), 1, False
        self.observation = OBSERVATION
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            if not self._socket.poll(20):
                continue
            message = pickle.loads(frame.decompress(self._socket.recv()))
            self.received.append(message)
            if self.late:
                self.late = False
                time.sleep(0.6)  # longer than the client waits
            self._socket.send(self._reply(message))

    def _reply(self, message: dict) -> bytes:
        if message["type"] == "obs":
            return self.observation
        reply: dict = {"status": self.status}
        if message["type"] == "hash":
            reply = {"success": True, "payload": json.dumps(self.config, separators=(",", ":"))}
        return frame.compress(pickle.dumps(reply))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close(linger=0)
        self._context.term()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def robot(server):
    robot = BridgeRobot("127.0.0.1", server.port, timeout_s=0.5, slow_timeout_s=10.0)
    yield robot
    robot.close()


def test_the_picture_has_its_colors_and_the_state_its_numbers(robot):
    seen = robot.observe()
    assert seen.image.shape == (48, 64, 3)
    assert np.abs(seen.image[8, 8].astype(int) - (10, 20, 200)).max() < 12  # blue above
    assert np.abs(seen.image[40, 8].astype(int) - (200, 10, 20)).max() < 12  # red below
    assert seen.state == pytest.approx([0.3, -0.1, 0.15, 0.01, -0.02, 0.5, 1.0])


def test_an_action_is_sent_as_an_array_without_waiting_for_the_motion(server, robot):
    action = np.array([0.01, 0, -0.02, 0, 0, 0.1, 0], np.float32)
    assert np.array_equal(robot.execute(action), action)
    sent = server.received[-1]
    assert (sent["type"], sent["key"]) == ("act", "step_action")
    assert sent["payload"]["blocking"] is False
    assert isinstance(sent["payload"]["action"], np.ndarray)
    assert sent["payload"]["action"] == pytest.approx(action)
    robot.home()
    assert server.received[-1]["key"] == "reset"


def test_requests_name_nothing_that_numpy_1_lacks():
    data = encode_message({"action": np.arange(7, dtype=np.float32), "keys": {"image"}})
    words = [arg for _, arg, _ in pickletools.genops(frame.decompress(data))]
    assert not any("_core" in str(w) for w in words)
    assert frame.decompress(data)[:2] == b"\x80\x04"  # Python 3.8 reads protocol 4


def test_replies_of_numpy_1_and_2_are_read():
    old = decode_message(OBSERVATION)
    assert old["state"].dtype == np.float64
    assert decode_message(frame.compress(pickle.dumps(old)))["state"] == pytest.approx(old["state"])
    scalars = decode_message((GOLDEN / "bridge_scalars_numpy1.bin").read_bytes())
    assert scalars == {"status": 1, "values": [0.5, 0.25]}


class Hostile:
    def __reduce__(self):
        import os

        return os.system, ("echo hostile",)


@pytest.mark.parametrize(
    "data",
    [
        frame.compress(pickle.dumps({"state": Hostile()})),
        frame.compress(b"cbuiltins\neval\n(S'1'\ntR."),
        frame.compress(pickle.dumps(np.array([Hostile()], object))),
        frame.compress(b"\x80"),
        b"no lz4",
    ],
)
def test_a_hostile_or_damaged_reply_runs_nothing(server, robot, data, capfd):
    server.observation = data
    with pytest.raises(RobotFault, match="isn't accepted"):
        robot.observe()
    assert "hostile" not in capfd.readouterr().out


def test_a_late_reply_is_a_fault_and_the_next_call_works(server, robot):
    server.late = True
    with pytest.raises(RobotFault, match=r"didn't answer within 0\.5 s"):
        robot.observe()
    assert robot.observe().image.shape == (48, 64, 3)


def test_a_failed_motion_is_a_fault_that_recover_clears(server, robot):
    server.status = 2
    with pytest.raises(RobotFault, match="step_action: the motion failed"):
        robot.execute(np.zeros(7, np.float32))
    server.status = 1
    count = len(server.received)
    robot.recover()
    keys = [(m["key"], m["payload"].get("joint_name")) for m in server.received[count:]]
    assert keys == [*(("reboot_motor", joint) for joint in JOINTS), ("init", None)]


def test_another_server_is_refused_when_the_station_opens(server):
    server.config["action_keys"] = ["init"]
    with pytest.raises(ConfigError, match="has action_keys"):
        BridgeRobot("127.0.0.1", server.port)
    with pytest.raises(ConfigError, match=r"no WidowX server answers at tcp://127\.0\.0\.1:1:"):
        BridgeRobot("127.0.0.1", 1, timeout_s=0.1)


def test_its_contract_says_how_the_server_turns(robot):
    assert robot.contract.action.turn == "left"
    assert robot.contract.action.delta_from == "commanded"
