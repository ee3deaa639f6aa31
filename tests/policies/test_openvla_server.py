"""The client `openvla:URL` against OpenVLA's own server code, with a model that only computes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from soar.errors import ModelUnavailable
from soar.policies.remote.openvla import connect_openvla
from soar.policies.remote.options import pad_to
from soar.types import image_only

FOLDER = Path(os.environ.get("SOAR_CLIENTS", Path.home() / ".cache" / "soar" / "envs" / "clients"))
DEPLOY = FOLDER / "openvla" / "vla-scripts" / "deploy.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DEPLOY.exists(), reason="needs `make test-clients` once"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server, in a process of its own: it patches the module json."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = Path(__file__).with_name("openvla_stand_in.py")
    environment = {**os.environ, "PYTHONPATH": str(FOLDER)}
    process = subprocess.Popen([sys.executable, script, DEPLOY, str(port)], env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                httpx.get(address)
                break
            except httpx.ConnectError:
                assert process.poll() is None
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait()


def test_it_acts_on_images_instructions_and_a_key(url: str) -> None:
    policy = connect_openvla(url, resize=224, unnorm_key="bridge_orig", timeout_s=60)
    images = np.random.default_rng(0).integers(0, 256, (2, 240, 320, 3), np.uint8)
    words = ["open the drawer", "put the green block in the wooden bowl"]
    actions = policy.act(image_only(images), words, np.random.default_rng(0))
    for action, image, text in zip(actions, images, words, strict=True):
        prompt = f"In: What action should the robot take to {text}?\nOut:"
        color = pad_to(image, 224).reshape(-1, 3).mean(0) / 25500
        wanted = [*color, len(prompt) / 1e4, 0.0224, 0, 1]
        np.testing.assert_allclose(action, wanted, atol=1e-7)


def test_its_error_is_an_outage(url: str) -> None:
    policy = connect_openvla(url, resize=224, unnorm_key="fractal", timeout_s=60)
    seen = image_only(np.zeros((1, 224, 224, 3), np.uint8))
    with pytest.raises(ModelUnavailable, match="failed; its own log says why"):
        policy.act(seen, ["open the drawer"], np.random.default_rng(0))
