"""Commands of soar in processes that can be killed: forked from a warm server, which has the libraries loaded.

`python -m benchmarks.attack.tools.commands` is that server. For each line of JSON (`argv`, `out`, `folder`) on its
standard input it forks a process that runs the command, and prints the process's id and then its exit status.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parents[3]
_GONE_S = 30.0
"""Time in which the children of a command that ended must end, on a busy machine, in seconds."""
_NO_END_S = 300.0
"""Time after which a command hangs, in seconds."""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    """Exit code, or minus the number of the signal that killed it."""
    text: str
    """Everything that it printed."""
    orphans: int
    """Number of its processes that were still there a while after its end."""
    signaled: bool
    """Whether it was still running when the signal was sent."""
    seconds: float
    """Time from its start to its end."""


class WarmServer:
    """A process with the libraries loaded, from which commands are forked within milliseconds."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        """Start the server. `folder`: where the output of commands is kept."""
        self._out = folder / "output.txt"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.attack.tools.commands"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MUJOCO_GL": "egl", **(env or {})},
            start_new_session=True,
        )
        self._line()

    def run(
        self,
        argv: Sequence[str],
        folder: Path,
        signals: Sequence[tuple[float, int]] = (),
        *,
        group: bool = False,
    ) -> Ended:
        """Run a command to its end.

        Args:
            argv: its words, without "soar".
            folder: its current folder.
            signals: moments in seconds after its start, and the signals that are sent then.
            group: whether they are sent to all of its processes, as a terminal does, and not to the first only.
        """
        self._out.unlink(missing_ok=True)
        request = {"argv": list(argv), "out": str(self._out), "folder": str(folder)}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        pid, began, signaled = int(self._line()), time.monotonic(), False
        for at, number in signals:
            while time.monotonic() - began < at and not _ended(pid):
                time.sleep(0.005)
            with contextlib.suppress(ProcessLookupError):
                signaled = signaled or not _ended(pid)
                os.killpg(pid, number) if group else os.kill(pid, number)
        code = self._wait(pid)
        seconds = time.monotonic() - began
        text = self._out.read_text(errors="replace") if self._out.exists() else ""
        return Ended(code, text, _orphans(pid), signaled, seconds)

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(_NO_END_S)

    def _wait(self, pid: int) -> int:
        """Return a command's exit code, and end one that hangs."""
        end = time.monotonic() + _NO_END_S
        while not _ended(pid) and time.monotonic() < end:
            time.sleep(0.01)
        hangs = not _ended(pid)
        if hangs:
            os.killpg(pid, signal.SIGKILL)
        code = int(self._line())
        return 999 if hangs else code

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


def problem_of(ended: Ended, codes: Sequence[int], lines: int = 8) -> str:
    """Say what is wrong with a command's end; empty if nothing is.

    Args:
        ended: how it ended.
        codes: exit codes that are right.
        lines: most lines that it may print.
    """
    last = ended.text.strip().splitlines()[-1:] or [""]
    for word in ("Traceback", "Exception ignored", "Fatal Python error", "resource_tracker:"):
        if word in ended.text:
            return f"prints '{word}': {last[0]:.120}"
    if ended.code == 999:
        return f"hangs for over {_NO_END_S:g} s: {last[0]:.100}"
    if ended.code not in codes:
        return f"exit code {ended.code}, not one of {list(codes)}: {last[0]:.120}"
    if ended.orphans:
        return f"{ended.orphans} processes outlive it"
    return ""


def _ended(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def _orphans(session: int) -> int:
    """Count the processes of a session that don't end by themselves, and end them."""
    end = time.monotonic() + _GONE_S
    while (left := _members(session)) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def _members(session: int) -> list[int]:
    """Return the running processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[3]) == session and fields[0] not in "ZX":
                    found.append(int(entry.name))
    return found


def _preload() -> None:
    """Import what commands need, and run nothing: threads don't survive a fork."""
    import importlib

    for name in (
        "lance.file", "lance.fragment", "PIL.Image", "simplejpeg", "torch", "tensorboard", "rich.progress", "tyro",
        "av", "mujoco", "mink", "torch.utils.tensorboard", "safetensors.torch", "transformers",
        "soar.cli.options", "soar.cli.train", "soar.cli.collect", "soar.cli.improve", "soar.cli.evaluate",
        "soar.training.policy", "soar.collection.fleet", "soar.evaluation.runner", "soar.report.page",
        "soar.data.store.verify", "soar.robots.toy_models", "soar.robots.simulated", "soar.vlm.compact.model",
        "soar.subgoals.compact.generator", "soar.experiments.simulated_run", "torch._dynamo",
    ):  # fmt: skip
        importlib.import_module(name)
    from soar.nn.text import SentenceEncoder

    SentenceEncoder()


def _serve() -> None:
    """Answer requests; a forked child returns and runs its command."""
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            _become(request)
            return
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(request: dict[str, str]) -> None:
    """Run a command in this forked process, as `soar` does."""
    import __main__

    os.setsid()
    out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    silent, _ = os.pipe()  # as a terminal at which nobody types
    for source, target in ((silent, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    os.chdir(request["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    __main__.__spec__ = None  # so that its workers don't import this module
    del __main__.__file__
    sys.argv = ["soar", *request["argv"]]
    from soar.cli import main

    main()


if __name__ == "__main__":
    _preload()
    print("ready", flush=True)
    _serve()
