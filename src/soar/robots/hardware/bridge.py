"""WidowX 250S behind bridge_data_robot's server, as in BridgeData V2 and in the paper.

    robot: bridge
    options: {host: robot-pc}
    contract and box as the packaged arm's; docs/add-a-robot.md

The server (ROS 1, Python 3.8, numpy 1) answers lz4-compressed pickles on a ZeroMQ socket. This client needs none of its
code: it decodes nothing but arrays and plain values, so that no hostile server runs code here, and it pickles arrays
in a way that numpy 1 can read. Needs the extra `widowx`.
"""

from __future__ import annotations

import io
import json
import pickle
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from soar.contract.contract import ActionNumbers, Contract
from soar.data.store.images import decode
from soar.errors import CameraFault, ConfigError, RobotFault, StoreError
from soar.types import Action, Image, Observation

try:
    import lz4.frame
    import zmq
except ImportError as error:
    raise ConfigError("this robot needs `pip install soar-robot[widowx]`") from error

PORT = 5556
JOINTS = (
    "waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper",
    "left_finger", "right_finger",
)  # fmt: skip
"""Names of the motors that can be rebooted."""
ENV_PARAMS: Mapping[str, Any] = {
    "fix_zangle": 0.1,
    "move_duration": 0.2,
    "adaptive_wait": True,
    "move_to_rand_start_freq": 1,
    "override_workspace_boundaries": [[0.1, -0.15, -0.1, -1.57, 0], [0.45, 0.25, 0.18, 1.57, 0]],
    "action_clipping": "xyz",
    "catch_environment_except": False,
    "start_state": [0.3, 0.0, 0.15, 0, 0, 0, 1],
    "skip_move_to_neutral": False,
    "return_full_image": True,
    "camera_topics": [{"name": "/blue/image_raw"}],
}
"""Parameters of the paper's robots; `return_full_image` sends the camera's own picture."""
_STATUS = {
    0: "it has lost its robot",
    2: "the motion failed",
    3: "it isn't initialized; recover() does it",
}
"""Meaning of the statuses other than 1, success."""
_ARRAYS = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"), ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
}  # fmt: skip
"""What a pickled array or number of numpy 1 or 2 is made with."""


class BridgeRobot:
    """A WidowX 250S behind bridge_data_robot's server.

    The server adds actions to the pose commanded last, with rotations multiplied from the left, and zero rotation means
    fingers down. It answers one call at a time, so that a way home can't be interrupted: there is no `hold`.
    """

    period_s = 0.2
    contract = Contract(action=ActionNumbers(turn="left"))

    def __init__(
        self,
        host: str,
        port: int = PORT,
        camera: str = "/blue/image_raw",
        env_params: Mapping[str, Any] | None = None,
        *,
        swap_colors: bool = True,
        timeout_s: float = 0.8,
        slow_timeout_s: float = 30.0,
    ) -> None:
        """Connect and initialize the arm, which takes about 10 s the first time.

        Args:
            host: name or address of the robot's computer.
            port: the server's port.
            camera: ROS topic of the camera.
            env_params: parameters that differ from `ENV_PARAMS`.
            swap_colors: swap red and blue of the server's picture: it hands an RGB image to OpenCV, which takes it as
                BGR, so that any other decoder sees the two swapped.
            timeout_s: time limit of `observe` and `execute` in seconds.
            slow_timeout_s: time limit of `home` and of the start in seconds.

        Raises:
            ConfigError: no such server answers, or it has another version.
            RobotFault: the arm can't be initialized.
        """
        self._address = f"tcp://{host}:{port}"
        self._timeout_s, self._slow_timeout_s = timeout_s, slow_timeout_s
        self._swap_colors = swap_colors
        self._params = {**ENV_PARAMS, "camera_topics": [{"name": camera}], **(env_params or {})}
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None
        self._fault = ""
        try:
            self._check_version(port)
            self._act("init", {"env_params": self._params, "image_size": 256}, slow=True)
        except BaseException:
            self.close()
            raise

    def observe(self) -> Observation:
        """Return the camera's picture and the measured pose."""
        keys = {"image", "state", "full_image"}
        reply = self._request({"type": "obs", "keys": keys}, self._timeout_s)
        now = time.monotonic()
        try:
            state = np.asarray(reply["state"], np.float32)
            data = bytes(reply["full_image"])
        except (LookupError, TypeError, ValueError) as error:
            raise RobotFault(f"the WidowX server sent no observation: {error!r:.80}") from error
        return Observation(self._picture(data), state, now)

    def execute(self, action: Action) -> Action:
        """Begin the motion of one control step; return the commanded action, which the server doesn't correct."""
        payload = {"action": np.asarray(action, np.float64), "blocking": False}
        self._act("step_action", payload)
        return np.array(action, np.float32)

    def home(self) -> None:
        """Open the gripper, and go to the neutral pose, from which the commanded pose starts anew."""
        self._act("reset", {}, slow=True)

    def recover(self) -> None:
        """Reboot the motor that the last fault named, or all; then initialize the arm anew."""
        named = [joint for joint in JOINTS if joint in self._fault]
        for joint in named or JOINTS:
            self._act("reboot_motor", {"joint_name": joint}, slow=True)
        self._act("init", {"env_params": self._params, "image_size": 256}, slow=True)
        self._fault = ""

    def close(self) -> None:
        """Close the connection; the server keeps the arm where it is."""
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None
        self._context.term()

    def _check_version(self, port: int) -> None:
        """Compare the server's configuration with what this client speaks. Raises ConfigError."""
        try:
            reply = self._request({"type": "hash"}, self._timeout_s)
            theirs = json.loads(reply["payload"])
        except RobotFault as error:
            raise ConfigError(f"no WidowX server answers at {self._address}: {error}") from error
        except (LookupError, TypeError, ValueError) as error:
            raise ConfigError(f"{self._address} is no WidowX server") from error
        wanted = {"action_keys": _ACTIONS, "observation_keys": _OBSERVED, "version": _VERSION}
        for key, value in wanted.items():
            there = theirs.get(key) if isinstance(theirs, dict) else None
            if there != value and sorted(there or ()) != sorted(value):
                raise ConfigError(f"the WidowX server has {key} {there}; valid: {value}")

    def _act(self, key: str, payload: Mapping[str, Any], slow: bool = False) -> None:
        """Let the server do something. Raises RobotFault: it didn't succeed."""
        limit_s = self._slow_timeout_s if slow else self._timeout_s
        message = {"type": "act", "key": key, "payload": dict(payload)}
        reply = self._request(message, limit_s)
        status = reply.get("status") if isinstance(reply, dict) else None
        if status != 1:
            known = _STATUS.get(status) if isinstance(status, int) else None
            self._fault = known or f"status {status!r:.40}"
            raise RobotFault(f"the WidowX server at {key}: {self._fault}")

    def _request(self, message: Mapping[str, Any], limit_s: float) -> Any:
        """Return the reply to a message. Raises RobotFault: none in time, or not one that can be decoded."""
        if self._socket is None:
            self._socket = self._context.socket(zmq.REQ)
            self._socket.connect(self._address)
        self._socket.send(encode_message(message))
        if not self._socket.poll(round(1000 * limit_s)):
            self._socket.close(linger=0)  # a REQ socket without its reply can't send again
            self._socket = None
            raise RobotFault(f"the WidowX server didn't answer within {limit_s:g} s")
        return decode_message(self._socket.recv())

    def _picture(self, data: bytes) -> Image:
        try:
            image = decode(data)
        except StoreError as error:
            raise CameraFault(f"the camera's picture isn't one: {error}") from error
        return np.ascontiguousarray(image[..., ::-1]) if self._swap_colors else image


_ACTIONS = ["init", "move", "gripper", "reset", "step_action", "reboot_motor"]
_OBSERVED = ["image", "state", "full_image"]
_VERSION = "0.0.1"


class _Pickler(pickle.Pickler):
    """A pickler whose arrays are lists that any numpy can read: those of numpy 2 name a module that numpy 1 lacks."""

    def reducer_override(self, value: Any) -> Any:
        """Return how to rebuild an array, and NotImplemented for all else."""
        if isinstance(value, np.ndarray):
            return np.array, (value.tolist(), value.dtype.str)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """An unpickler that makes arrays, numbers, text, lists and dicts, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a constructor of arrays. Raises UnpicklingError: anything else."""
        if (module, name) not in _ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name} is neither an array nor a plain value")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def encode_message(message: Any) -> bytes:
    """Encode a message for the server."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=4).dump(message)
    data: bytes = lz4.frame.compress(buffer.getvalue())
    return data


def decode_message(data: bytes) -> Any:
    """Decode the server's message. Raises RobotFault: it is damaged, or more than arrays and plain values."""
    try:
        return _Unpickler(io.BytesIO(lz4.frame.decompress(data))).load()
    except Exception as error:  # damaged pickles raise anything
        raise RobotFault(f"the WidowX server's message isn't accepted: {error}") from error
