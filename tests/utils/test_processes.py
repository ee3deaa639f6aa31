import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from soar.utils.processes import worker_pool

PARENT = """
import os, sys, time
from soar.utils.processes import worker_pool

def work(file):
    open(file, "w").write(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    with worker_pool(1) as pool:
        pool.submit(work, sys.argv[1]).result()
"""


def _wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_killing_the_parent_leaves_no_worker_behind(tmp_path):
    script, pid_file = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script), str(pid_file)])
    _wait_for(lambda: pid_file.exists() and pid_file.read_text())
    worker = int(pid_file.read_text())
    assert _alive(worker)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _wait_for(lambda: not _alive(worker))


def test_workers_share_the_cores_unless_the_variable_is_set(monkeypatch: pytest.MonkeyPatch):
    name = "OMP_NUM_THREADS"
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for value, expected in ((None, "4"), ("3", "3")):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
        with worker_pool(2) as pool:
            assert pool.submit(os.getenv, name).result() == expected
        assert os.environ.get(name) == value
