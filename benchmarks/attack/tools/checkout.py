"""The command line of any checkout, a lab's files for it, and a chat server."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

from PIL import Image

from soar.data.store.lance import open_store
from soar.errors import SoarError

ROOT = Path(__file__).parents[3]
LIMIT_S = 300.0
"""Time after which a command hangs, on a busy machine [s]."""
_TASKS = ["move the green block to the left side", "move the green block to the right side"]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    """Exit code; 999 if it hung."""
    text: str

    @property
    def one_line(self) -> bool:
        """Whether it refused what it was given in a line, or did it."""
        return self.code in (0, 1, 2) and not self.traceback

    @property
    def traceback(self) -> bool:
        """Whether it printed a traceback."""
        return "Traceback" in self.text

    @property
    def last(self) -> str:
        """Its last line."""
        lines = [line for line in self.text.splitlines() if line.strip(" │╰─╯")]
        return "hangs" if self.code == 999 else lines[-1].strip() if lines else "says nothing"


@dataclass
class Lab:
    """A folder with station and model files, and the command line of a checkout."""

    source: Path
    folder: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start `soar` in a session of its own."""
        path = os.pathsep.join(map(str, (self.source / "src", ROOT)))
        own = {
            "PYTHONPATH": path,
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            "HOME": str(self.folder),
            "MUJOCO_GL": "egl",
        }
        env = {**os.environ, **own}
        process = subprocess.Popen(
            [*("env", "--default-signal=HUP,INT"), sys.executable, "-P", "-m", "soar", *map(str, words)],
            cwd=self.folder, env=env, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.running.append(process)
        return process

    def end(self, process: subprocess.Popen[str], limit_s: float = LIMIT_S) -> Ended:
        """Wait for a command, and kill it where it hangs."""
        try:
            text, _ = process.communicate(timeout=limit_s)
            return Ended(process.returncode, text)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return Ended(999, process.communicate()[0])

    def run(self, *words: object, limit_s: float = LIMIT_S) -> Ended:
        """Run `soar` to its end."""
        return self.end(self.start(*words), limit_s)

    def station(self, name: str, fault: str = "none", /, **keys: object) -> Path:
        """Write a station's file. Its marker is NAME.marker."""
        options = {"fault": fault, "marker": str(self.folder / f"{name}.marker")}
        about = {"robot": "benchmarks.attack.tools.lab:arm", "options": options, "tasks": _TASKS}
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps({**about, "process": False, **keys}))
        return path

    def collect(
        self, *words: object, policy: str = "policy", store: str | Path = "store"
    ) -> tuple[object, ...]:
        """Return the words of a collection with the lab's models."""
        models = self.folder / "models.yaml"
        lab = "python:benchmarks.attack.tools.lab"
        models.write_text(f"vlm: {lab}:vlm\nsubgoals: {lab}:subgoals\npolicy: {lab}:{policy}\n")
        return ("collect", f"--store={store}", "--models", models, *words)

    def episodes(self, name: str = "store") -> list[Any]:
        """Read a store's episodes."""
        try:
            store = open_store(self.folder / name, read_only=True)
            return [store.load(e.id) for e in store.query()]
        except SoarError:
            return []

    def ask(self, vlm: str, image: Path | None = None, limit_s: float = LIMIT_S) -> Ended:
        """Ask a VLM about an image."""
        if image is None:
            image = self.folder / "gray.png"
            Image.new("RGB", (64, 64), (128, 128, 128)).save(image)
        return self.run("vlm", "ask", image, "Is the drawer open?", "--vlm", vlm, limit_s=limit_s)

    def close(self) -> None:
        """End what still runs."""
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def chat_server(answer: str, refuses: str = "", body: str = "") -> Iterator[type[Chat]]:
    """Serve chat completions that say `answer`, or are `body`, and refuse requests with a parameter."""
    about = {"answer": answer, "refuses": refuses, "body": body, "images": []}
    kind = cast("type[Chat]", type("Chat_", (Chat,), about))
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    kind.name = f"chat:m@http://127.0.0.1:{server.server_port}/v1"
    kind.listener = server
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield kind
    server.shutdown()


class Chat(BaseHTTPRequestHandler):
    """A chat server."""

    answer: ClassVar[str]
    refuses: ClassVar[str]
    body: ClassVar[str]
    images: ClassVar[list[bytes]]
    name: ClassVar[str]
    listener: ClassVar[ThreadingHTTPServer]

    @classmethod
    def secure(cls, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        cls.listener.socket = context.wrap_socket(cls.listener.socket, server_side=True)

    def do_POST(self) -> None:
        """Answer, or refuse a parameter."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for found in re.findall(r"data:image/\w+;base64,([\w+/=]+)", json.dumps(body)):
            self.images.append(base64.b64decode(found))
        choice = {"message": {"role": "assistant", "content": self.answer}, "finish_reason": "stop"}
        reply: dict[str, Any] = {"choices": [choice]}
        wrong = self.refuses in body if self.refuses else False
        if wrong:
            message = f"Unsupported parameter: '{self.refuses}' is not supported with this model."
            reply = {"error": {"message": message, "param": self.refuses, "code": "unsupported_parameter"}}  # fmt: skip
        data = (self.body or json.dumps(reply)).encode()
        self.send_response(400 if wrong else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
