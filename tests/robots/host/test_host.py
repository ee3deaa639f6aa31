"""The host and its client, with real sockets and real processes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soar.contract.contract import ROTATION_NAMES, WIDOWX, ActionNumbers, Contract
from soar.contract.convert import apply, decode, express
from soar.errors import ConfigError, RobotFault
from soar.robots.host.client import RemoteRobot
from soar.robots.host.hosted import HOST_FILE, HostedRobot
from soar.robots.host.robot_host import Host, listen, main, pack, still, unpack
from soar.robots.toy import ToyRobot

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from plain_arm import Arm, HoldingArm, Simulator, UnknownArm  # noqa: E402

OTHER_PYTHONS = [
    Path.home() / f".cache/soar/envs/{name}/bin/python" for name in ("host38", "host312")
]


def push(x: float = 0.0, opening: float = 1.0) -> np.ndarray:
    return np.array([x, 0, 0, 0, 0, 0, opening], np.float32)


def wait_for(log: Path, word: str, count: int = 1) -> list[str]:
    """The log's lines once it has a word `count` times."""
    end = time.monotonic() + 20
    while not log.exists() or log.read_text().split("\n").count(word) < count:
        assert time.monotonic() < end, f"no '{word}' in {log.read_text() if log.exists() else ''}"
        time.sleep(0.01)
    return log.read_text().split("\n")[:-1]


class Mute(Exception):
    """An exception that can't say what happened."""

    def __str__(self) -> str:
        raise ValueError("no text")


class Served:
    """A host in a thread of this process."""

    def __init__(self, make: Callable[[], object], key: str = "") -> None:
        self.host = Host(make, "arm")
        self.server = listen(self.host, "127.0.0.1", 0, key)
        self.url = f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.host.run)
        self.thread.start()

    def end(self) -> None:
        self.host.end()
        self.thread.join()
        self.server.shutdown()


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    served: list[Served] = []

    def start(make: Callable[[], object], key: str = "") -> Served:
        served.append(Served(make, key))
        return served[-1]

    yield start
    for each in served:
        each.end()


@pytest.mark.parametrize(
    "python", [Path(sys.executable), *OTHER_PYTHONS], ids=lambda p: p.parts[-3]
)
def test_a_robot_in_any_python_behaves_the_same(python):
    if not python.exists():
        pytest.skip(f"no environment {python}: `make test-foreign` builds it")
    robot = HostedRobot([str(python)], "plain_arm:Arm", {}, folder=HERE)
    here = Arm()
    assert np.array_equal(robot.execute(push(0.1)), here.execute(push(0.1)))
    seen, expected = robot.observe(), here.observe()
    assert np.array_equal(seen.image, expected["image"])
    assert np.array_equal(seen.state, expected["state"])
    assert np.array_equal(seen.other_images["wrist"], expected["other_images"]["wrist"])
    assert abs(seen.time_s - robot.clock_offset_s - time.monotonic()) < 5
    robot.home()
    robot.close()
    robot.close()


def test_faults_keep_their_class_and_other_exceptions_say_where(serve):
    robot = RemoteRobot(serve(Arm).url)
    with pytest.raises(RobotFault, match=r"^motor 3 is hot$"):
        robot.execute(push(2))
    with pytest.raises(RobotFault, match=r"ValueError at .*plain_arm.py:\d+: no such joint"):
        robot.execute(push(-2))
    with pytest.raises(ConfigError, match=r"no method dance\(\)"):
        robot.call("dance")
    robot.close()


def test_a_driver_beside_soar_may_declare_its_contract_as_soar_does(serve):
    driver = ToyRobot()
    driver.contract = replace(WIDOWX, period_s=0.1)
    robot = RemoteRobot(serve(lambda: driver).url)
    assert robot.contract == driver.contract
    assert np.array_equal(robot.observe().state, driver.observe().state)
    robot.close()


def test_the_arm_is_held_when_the_client_is_silent(serve, tmp_path):
    log = tmp_path / "log"
    robot = RemoteRobot(serve(lambda: Arm(str(log))).url)
    robot.execute(push(0.5, 0.25))
    wait_for(log, "execute 0 0.25")  # no motion, gripper as it was
    assert robot.observe().state[0] == 0.5
    robot.close()


def test_a_driver_with_hold_is_held_by_it_once(serve, tmp_path):
    log = tmp_path / "log"
    served = serve(lambda: HoldingArm(str(log)))
    robot = RemoteRobot(served.url)
    robot.execute(push(0.5))
    wait_for(log, "hold")
    time.sleep(4 * robot.period_s)
    assert log.read_text().split().count("hold") == 1
    robot.close()


def test_hold_reaches_the_driver_while_another_call_runs(serve, tmp_path):
    log = tmp_path / "log"
    robot = RemoteRobot(serve(lambda: HoldingArm(str(log), home_s=0.5)).url)
    homing = threading.Thread(target=robot.home)
    homing.start()
    wait_for(log, "homing")
    robot.hold()
    homing.join()
    assert wait_for(log, "home") == ["made", "homing", "hold", "home"]
    assert robot.observe().image.shape == (8, 8, 3)
    robot.close()


class Unsteady(Arm):  # type: ignore[misc]
    """An arm whose motors don't obey while their bus is busy."""

    contract = {"action": {"reference": "absolute"}}  # noqa: RUF012

    def __init__(self, log: str) -> None:
        super().__init__(log)
        self.busy = threading.Event()

    def execute(self, action: Any) -> Any:
        self.check()
        return super().execute(action)

    def check(self) -> None:
        if self.busy.is_set():
            self.write("busy")
            raise OSError("the bus is busy")


class UnsteadyHold(Unsteady):
    def hold(self) -> None:
        self.check()
        self.write("hold")


@pytest.mark.parametrize(("kind", "held"), [(Unsteady, "execute 0.5 1"), (UnsteadyHold, "hold")])
def test_a_hold_that_fails_is_tried_again_and_nothing_moves_before(
    serve, tmp_path, capsys, kind, held
):
    log = tmp_path / "log"
    arm = kind(str(log))
    served = serve(lambda: arm)
    robot = RemoteRobot(served.url)
    robot.execute(push(0.5))
    before = log.read_text().split("\n").count(held)
    arm.busy.set()
    wait_for(log, "busy", 3)
    for motion in (robot.home, lambda: robot.execute(push(0.25))):
        with pytest.raises(
            RobotFault, match=r"the arm can't be held: OSError at .*the bus is busy"
        ):
            motion()
    assert robot.observe().state[0] == 0.5
    arm.busy.clear()
    wait_for(log, held, before + 1)
    robot.home()
    assert log.read_text().split("\n")[-2] == "home"
    assert "execute 0.25 1" not in log.read_text()
    said = capsys.readouterr().err.strip().split("\n")
    assert ["the bus is busy" in line for line in said] == [True, False]
    robot.close()


def test_a_hold_that_fails_is_an_error_for_the_client_that_asked(serve, tmp_path, caplog):
    arm = UnsteadyHold(str(tmp_path / "log"))
    arm.home_s = 0.5
    robot = RemoteRobot(serve(lambda: arm).url)
    homing = threading.Thread(target=robot.home)
    homing.start()
    wait_for(tmp_path / "log", "homing")
    arm.busy.set()
    robot.hold()  # the call that runs reads the reply
    homing.join()
    assert "the bus is busy" in caplog.text
    with pytest.raises(RobotFault, match="the bus is busy"):
        robot.hold()
    arm.busy.clear()
    robot.hold()
    robot.close()


def test_a_recovered_arm_is_not_sent_to_where_it_was_told_to_go_before(serve, tmp_path):
    log = tmp_path / "log"
    arm = Unsteady(str(log))
    robot = RemoteRobot(serve(lambda: arm).url)
    robot.execute(push(0.5))
    arm.busy.set()
    with pytest.raises(RobotFault, match="the bus is busy"):
        robot.execute(push(0.25))
    wait_for(log, "busy", 2)
    robot.recover()
    arm.busy.clear()
    robot.home()
    assert "execute 0.25 1" not in log.read_text()
    robot.close()


def test_an_arm_that_can_not_be_held_is_held_before_it_is_closed(tmp_path):
    log = tmp_path / "log"
    arm = UnsteadyHold(str(log))
    served = Served(lambda: arm)
    arm.busy.set()
    threading.Timer(0.5, arm.busy.clear).start()
    served.end()
    assert log.read_text().split()[-2:] == ["hold", "close"]


def test_an_exception_that_can_not_say_what_happened_does_not_end_the_watchdog(serve, tmp_path):
    log = tmp_path / "log"

    class Silent(UnsteadyHold):
        def check(self) -> None:
            if self.busy.is_set():
                raise Mute

    arm = Silent(str(log))
    robot = RemoteRobot(serve(lambda: arm).url)
    arm.busy.set()
    with pytest.raises(RobotFault, match="can't be held: Mute"):
        robot.hold()
    arm.busy.clear()
    wait_for(log, "hold")
    robot.close()


def test_an_arm_without_hold_that_declares_soars_own_contract_is_held(serve, tmp_path):
    log = tmp_path / "log"
    arm = Arm(str(log))
    arm.contract = Contract(ActionNumbers(turn="left"))
    robot = RemoteRobot(serve(lambda: arm).url)
    robot.execute(push(0.5, 0.25))
    wait_for(log, "execute 0 0.25")
    robot.close()


@pytest.mark.parametrize("rotation", ROTATION_NAMES)
@pytest.mark.parametrize("reference", ["delta", "absolute"])
def test_the_action_that_holds_an_arm_leads_nowhere_and_keeps_the_gripper(rotation, reference):
    size = len(ROTATION_NAMES[rotation])
    meaning = ActionNumbers(
        rotation=rotation, turn="left", reference=reference, scale=(0.5,) * (3 + size)
    )
    there = decode(np.array([0.3, 0, 0.1, 0, 0, 0.2, 0.25]), WIDOWX.state)
    start = replace(there, motion=there.motion - 0.01)
    last = express(there, start, meaning)
    held = apply(still(asdict(meaning), last).astype(np.float64), there, meaning)
    for name in ("motion", "rotation", "opening") if rotation != "none" else ("motion", "opening"):
        assert getattr(held, name) == pytest.approx(getattr(there, name), abs=1e-6)


def test_a_simulator_is_not_held_and_offers_its_truth(serve, tmp_path):
    log = tmp_path / "log"
    robot = RemoteRobot(serve(lambda: Simulator(str(log))).url)
    robot.execute(push(0.5))
    time.sleep(5 * robot.period_s)
    robot.call("reset", 3)
    assert robot.call("truth", "done") is True
    assert log.read_text().split("\n") == ["made", "execute 0.5 1", "reset 3", ""]
    robot.close()


CLIENT = """
import sys, time
import numpy as np
from soar.robots.host.client import RemoteRobot
robot = RemoteRobot(sys.argv[1])
while True:
    robot.execute(np.array([0.5, 0, 0, 0, 0, 0, 0.25], np.float32))
    time.sleep(0.02)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_frozen_client_leaves_a_held_arm_that_the_next_one_takes_over(
    serve, tmp_path, number
):
    log = tmp_path / "log"
    served = serve(lambda: Arm(str(log)))
    client = subprocess.Popen([sys.executable, "-c", CLIENT, served.url])
    try:
        wait_for(log, "execute 0.5 0.25")
        with pytest.raises(RobotFault, match="another client controls this robot"):
            RemoteRobot(served.url)
        client.send_signal(number)
        wait_for(log, "execute 0 0.25")
        robot = RemoteRobot(served.url)
        robot.execute(push(0.125))
        assert log.read_text().split("\n")[-2] == "execute 0.125 1"
        robot.close()
    finally:
        client.kill()
        client.wait()


def test_a_killed_host_is_a_fault_and_recover_starts_another(tmp_path):
    log = tmp_path / "log"
    robot = HostedRobot([sys.executable], "plain_arm:Arm", {"log": str(log)}, folder=HERE)
    process = robot._process
    assert process is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(RobotFault, match="lost the robot's host"):  # noqa: PT012 - the first may still be sent
        robot.execute(push())
        robot.execute(push())
    with pytest.raises(RobotFault, match=r"recover\(\) connects anew"):
        robot.observe()
    robot.recover()
    assert robot.observe().image.shape == (8, 8, 3)
    robot.close()
    assert log.read_text().split() == ["made", "made", "recover", "close"]


def test_a_start_that_fails_leaves_no_host_and_no_control_behind(serve, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(ConfigError, match="rotation"):
        HostedRobot([sys.executable], "plain_arm:UnknownArm", {"log": str(log)}, folder=HERE)
    assert log.read_text().split() == ["made", "close"]
    served = serve(UnknownArm)
    with pytest.raises(ConfigError, match="rotation"):
        RemoteRobot(served.url)
    end = time.monotonic() + 5
    while served.host._controller is not None:
        assert time.monotonic() < end
        time.sleep(0.01)


OWNER = """
import sys
from soar.robots.host.hosted import HostedRobot
robot = HostedRobot([sys.executable], "plain_arm:Arm", {"log": sys.argv[1]}, folder=sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_host_ends_with_the_process_that_started_it_and_releases_the_hardware(tmp_path):
    log = tmp_path / "log"
    pipe = subprocess.PIPE
    owner = subprocess.Popen([sys.executable, "-c", OWNER, log, HERE], stdin=pipe, stdout=pipe)
    assert owner.stdout is not None
    assert owner.stdin is not None
    assert owner.stdout.readline() == b"ready\n"
    owner.kill()
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    assert wait_for(log, "close")[0] == "made"


def test_a_pulled_cable_is_a_fault_on_one_side_and_a_held_arm_on_the_other(serve, tmp_path):
    log = tmp_path / "log"
    robot = RemoteRobot(serve(lambda: HoldingArm(str(log))).url)
    robot.execute(push(0.5))
    assert robot._connection is not None
    robot._connection.socket.shutdown(socket.SHUT_RDWR)
    with pytest.raises(RobotFault, match="lost the robot's host"):
        robot.observe()
    wait_for(log, "hold")
    robot.recover()
    assert robot.observe().state[0] == 0.5
    robot.close()


class SilentClient:
    """A client that asks for large pictures and never reads: its network is gone, or it is suspended."""

    def __init__(self, url: str, path: str) -> None:
        address = url.removeprefix("ws://").split(":")
        self.socket = socket.create_connection((address[0], int(address[1])))
        self.socket.settimeout(10)
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        self.socket.sendall((request + key).encode())
        while b"protocol" not in self.socket.recv(4096):
            pass

    def ask(self, call: str, *args: Any) -> None:
        data = pack({"call": call, "args": args, "id": 1})
        assert len(data) < 126
        self.socket.sendall(bytes([0x82, 0x80 | len(data)]) + bytes(4) + data)


class LargePictures(HoldingArm):  # type: ignore[misc]
    """An arm whose pictures fill any socket's buffer."""

    def observe(self) -> Any:
        self.write("observe")
        return {**super().observe(), "image": np.zeros((2000, 4000, 3), np.uint8)}


def test_a_client_that_stops_reading_leaves_a_held_arm_that_the_next_one_takes_over(
    serve, tmp_path
):
    log = tmp_path / "log"
    served = serve(lambda: LargePictures(str(log)))
    silent = SilentClient(served.url, "/robot/v1")
    with contextlib.closing(silent.socket):
        silent.ask("execute", [0.5, 0, 0, 0, 0, 0, 1])
        silent.ask("observe")
        wait_for(log, "hold")
        robot = RemoteRobot(served.url)
        robot.execute(push(0.125))
        assert "execute 0.125 1" in log.read_text()
        robot.close()


def test_a_viewer_that_stops_reading_keeps_nobody_waiting(serve, tmp_path):
    log = tmp_path / "log"
    served = serve(lambda: LargePictures(str(log)))
    robot = RemoteRobot(served.url, timeout_s=2.0)
    silent = SilentClient(served.url, "/robot/v1?view")
    with contextlib.closing(silent.socket):
        silent.ask("observe")
        wait_for(log, "observe")
        robot.execute(push(0.5))
        assert robot.observe().state[0] == 0.5
        robot.close()


def test_an_arm_is_held_while_its_driver_hangs(serve, tmp_path):
    log = tmp_path / "log"
    hanging = threading.Event()

    class Hanging(HoldingArm):  # type: ignore[misc]
        def observe(self) -> Any:
            hanging.wait(30)
            return super().observe()

    robot = RemoteRobot(serve(lambda: Hanging(str(log))).url, timeout_s=60)
    robot.execute(push(0.5))
    looking = threading.Thread(target=robot.observe)
    looking.start()
    wait_for(log, "hold")
    hanging.set()
    looking.join()
    robot.close()


def test_a_call_that_hangs_is_a_fault_in_time(serve):
    robot = RemoteRobot(serve(lambda: Arm(home_s=0.6)).url, slow_timeout_s=0.2)
    with pytest.raises(RobotFault, match=r"didn't return from home\(\) within 0\.2 s"):
        robot.home()
    time.sleep(0.5)
    robot.recover()
    robot.close()


def test_viewers_see_and_may_stop_the_arm_but_never_move_it(serve, tmp_path):
    log = tmp_path / "log"
    served = serve(lambda: HoldingArm(str(log)))
    robot, viewer = RemoteRobot(served.url), RemoteRobot(served.url, view=True)
    robot.execute(push(0.5))
    assert viewer.observe().state[0] == 0.5
    with pytest.raises(RobotFault, match=r"a viewer can't call execute\(\)"):
        viewer.execute(push())
    held = log.read_text().split().count("hold")
    viewer.hold()
    assert log.read_text().split().count("hold") > held
    robot.close()


def test_a_closed_robot_is_built_anew_for_the_next_client(serve, tmp_path):
    log = tmp_path / "log"
    served = serve(lambda: Arm(str(log)))
    for _ in range(2):
        robot = RemoteRobot(served.url)
        robot.observe()
        robot.close()
    assert log.read_text().split() == ["made", "close", "made", "close"]


def test_only_a_client_with_the_key_is_served(serve, monkeypatch, capsys):
    served = serve(Arm, key="secret")
    for key in ("", "wrong"):
        with pytest.raises(ConfigError, match="the key is missing or wrong"):
            RemoteRobot(served.url, key=key)
    RemoteRobot(served.url, key="secret").close()
    monkeypatch.delenv("SOAR_ROBOT_KEY", raising=False)
    with pytest.raises(SystemExit, match="2"):
        main(["plain_arm:Arm", "--bind", "0.0.0.0"])
    assert "at 0.0.0.0 anybody could move the arm" in capsys.readouterr().err


def test_mistakes_are_one_line(tmp_path):
    cases = [
        (lambda: RemoteRobot("http://arm1"), r"url 'http://arm1' names no robot host; valid: ws://"),
        (lambda: RemoteRobot("ws://arm1:87x"), "url 'ws://arm1:87x' names no robot host; valid: ws://"),
        (lambda: RemoteRobot("ws://127.0.0.1:1"), "no robot host answers at ws://127.0.0.1:1"),
        (lambda: HostedRobot(["/no/python"], "x:y", {}), "/no/python can't be started: No such file"),
        (lambda: HostedRobot([sys.executable], "x:y", {}), "'x:y' with options {}: No module named 'x'"),
        (lambda: HostedRobot([sys.executable, "-S"], "x:y", {}), "install there: numpy, msgpack, webs"),
        (lambda: HostedRobot([sys.executable], "plain_arm:refuse", {}, folder=HERE), "no /dev/ttyUSB0"),
        (lambda: HostedRobot([sys.executable], "plain_arm:Arm", {"port": 1}, folder=HERE), "'port'"),
    ]  # fmt: skip
    for make, message in cases:
        with pytest.raises(ConfigError, match=message):
            make()


def test_a_port_that_is_taken_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit):
        main(["plain_arm:Arm", "--port", str(taken.getsockname()[1])])
    said = capsys.readouterr().err
    assert said.startswith("robot_host: OSError: ")
    assert "Address already in use" in said


def test_messages_of_any_other_client_do_not_stop_the_host(serve):
    from websockets.sync.client import connect

    served = serve(Arm)
    for data in (b"\xc1", pack({"call": "observe"}), pack([1]), "text", os.urandom(64)):
        with connect(served.url + "/robot/v1") as connection:
            connection.recv()
            connection.send(data)
    robot = RemoteRobot(served.url)
    assert robot.observe().image.shape == (8, 8, 3)
    robot.close()


@pytest.mark.parametrize(
    ("call", "args", "message"),
    [
        ("observe", 5, ""),
        ("execute", 5, "TypeError"),
        ("truth", [2**80], "can't be sent"),
        ("truth", ["\ud800"], "can't be sent"),
        ("truth", [SystemExit("panic")], "SystemExit"),
        ("truth", [Mute()], ""),
    ],
    ids=["observe", "execute", "large", "surrogate", "exit", "mute"],
)
def test_no_request_and_nothing_that_a_driver_does_ends_the_host(serve, call, args, message):
    class Peculiar(Arm):  # type: ignore[misc]
        def truth(self, _: str) -> Any:
            [value] = args
            if isinstance(value, BaseException):
                raise value
            return value

    served = serve(Peculiar)
    robot = RemoteRobot(served.url, view=call == "observe", slow_timeout_s=0.5)
    assert robot._connection is not None
    robot._connection.send(pack({"call": call, "args": args if args == 5 else ["x"], "id": 99}))
    if message:
        kind, text = unpack(robot._connection.recv(5))["error"]  # type: ignore[arg-type]
        assert kind == "RobotFault"
        assert message in text
    assert robot.observe().image.shape == (8, 8, 3)
    assert served.thread.is_alive()
    robot.close()


def test_a_call_after_close_is_a_fault_and_the_host_goes_on(serve):
    robot = RemoteRobot(serve(Arm).url)
    robot.call("close")
    with pytest.raises(RobotFault, match="recover"):
        robot.call("recover")
    robot.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_host_that_is_ended_holds_and_closes_the_arm(tmp_path, number):
    log = tmp_path / "log"
    options = json.dumps({"log": str(log)})
    command = [sys.executable, str(HOST_FILE), "plain_arm:HoldingArm", "--port", "0", "--options"]
    host = subprocess.Popen([*command, options], cwd=HERE, stdout=subprocess.PIPE)
    assert host.stdout is not None
    host.stdout.readline()
    host.send_signal(number)
    assert host.wait(20) == 0
    host.stdout.close()
    assert log.read_text().split() == ["made", "hold", "close"]


def test_arrays_go_over_the_wire_unchanged_and_objects_are_refused():
    arrays: list[Any] = [
        np.arange(6, dtype=d).reshape(2, 3) for d in (np.uint8, np.float32, np.float64, np.int64)
    ]
    for array in (*arrays, np.zeros((0, 3), np.float32), arrays[0][:, ::2], np.float32(2.5)):
        back = unpack(pack(array))
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert np.array_equal(back, array)
    with pytest.raises(TypeError, match="can't send"):
        pack(np.array([object()]))
    hostile = {b"__ndarray__": True, b"data": b"12345678", b"dtype": "|O", b"shape": [1]}
    with pytest.raises(ValueError, match="aren't decoded"):
        unpack(pack(hostile))


def test_the_codec_is_that_of_openpi():
    theirs = pytest.importorskip(
        "openpi_client.msgpack_numpy", reason="openpi-client isn't installed"
    )
    value = {"image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "n": np.float32(0.5)}
    assert pack(value) == theirs.packb(value)
    assert np.array_equal(theirs.unpackb(pack(value))["image"], np.asarray(value["image"]))


def test_the_host_imports_nothing_of_soar():
    for path in HOST_FILE.parent.glob("*_*.py"):
        assert "import soar" not in path.read_text(), path
        assert "\nfrom soar" not in path.read_text(), path
