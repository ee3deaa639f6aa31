"""A collection whose file system is full for a while: a real one, a small tmpfs in a mount namespace of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

needs_namespaces = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0,
    reason="needs user and mount namespaces",
)
MOUNT = 'mount -t tmpfs -o size=3m none "$0" && exec "$@"'
COLLECT = """
import os, sys, threading, time
from pathlib import Path
from soar.cli import main
from soar.collection.status import StatusFolder
from soar.data.store.lance import open_store

lab, disk = Path(sys.argv[1]), Path(sys.argv[2])
(lab / "arm1.yaml").write_text("robot: toy\\n")
(lab / "models.yaml").write_text(
    "vlm: python:soar.robots.toy_models:ToyVLM\\n"
    "subgoals: python:soar.robots.toy_models:ToySubgoals\\n"
    "policy: python:soar.robots.toy_models:ToyPolicy\\n"
)
folder = StatusFolder(disk / "store", "arm1")

def until(condition):
    while not condition():
        time.sleep(0.01)

def fill_and_free():
    until((folder.folder / "status.json").exists)
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
        until(lambda: folder.status().activity == "waiting")
        time.sleep(1.2)  # a second attempt fails too
        print(folder.status().doing)
        file.truncate(0)

threading.Thread(target=fill_and_free, daemon=True).start()
main(["collect", "--store", str(disk / "store"), "--station", str(lab / "arm1.yaml"),
      "--models", str(lab / "models.yaml"), "--episodes", "6", "--backoff.initial-s", "0.2"])
main(["data", "verify", "--store", str(disk / "store")])
for event in folder.events():
    print(event["kind"])
"""

KEYS = """
import os, pty, sys, time
from pathlib import Path
from soar.cli.record import _key_handler
from soar.collection.keys import operator_keys
from soar.collection.status import StatusFolder
from soar.robots.operation.teleoperation import CommandKeys

disk = Path(sys.argv[1])
folders = [StatusFolder(disk / "store", name) for name in ("arm1", "arm2", "arm3")]
for folder in folders:
    folder.folder.mkdir(parents=True)
try:
    with open(disk / "filler", "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
except OSError:
    pass

def held():
    return [(f.folder / "emergency").exists() for f in folders]

hold = CommandKeys(folders[2].request)
handle = _key_handler(None, hold, folders[2])
handle("x")
handle(" ")
print(held())

process, terminal = pty.fork()
if process == 0:
    with operator_keys(folders[:2]):
        os.write(1, b"ready")
        time.sleep(60)
text = b""
while b"ready" not in text:
    text += os.read(terminal, 1000)
os.write(terminal, b"x")  # a harmless one first
while b"heartbeat" not in text:
    text += os.read(terminal, 1000)
os.write(terminal, b" ")
end = time.monotonic() + 10
while not all(held()) and time.monotonic() < end:
    time.sleep(0.01)
print(held())
os.kill(process, 9)
"""


def run_on_a_small_disk(tmp_path: Path, script: str, *arguments: str) -> list[str]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "-Urm", "sh", "-c", MOUNT, str(disk)]
    command += [sys.executable, "-c", script, *arguments, str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


@needs_namespaces
def test_while_the_disk_is_full_the_arm_waits_and_everything_is_stored_afterwards(
    tmp_path: Path,
) -> None:
    waiting, stored, verified, *kinds = run_on_a_small_disk(tmp_path, COLLECT, str(tmp_path))
    assert waiting.endswith("the disk is full; free some space")
    assert stored.startswith("6 episodes stored")
    assert verified.startswith("6 episodes, none damaged")
    assert kinds == ["store", "back"]  # told once, and kept although the disk was full


@needs_namespaces
def test_on_a_full_disk_the_keys_still_hold_all_arms(tmp_path: Path) -> None:
    recorded, collecting = run_on_a_small_disk(tmp_path, KEYS)
    assert recorded == "[False, False, True]"
    assert collecting == "[True, True, True]"
