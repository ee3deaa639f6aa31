"""The page beside a run, in a process of its own."""

import multiprocessing
import queue
from pathlib import Path

import httpx

from soar.watch.beside import page_beside


def test_the_page_of_a_run_is_there_from_its_beginning_and_ends_with_it(tmp_path: Path) -> None:
    told: queue.Queue[str] = queue.Queue()
    with page_beside(tmp_path / "run", told.put):
        message = told.get(timeout=240)
        assert message.startswith("watch it: http://127.0.0.1:")
        address = message.removeprefix("watch it: ").split("?")[0]
        assert httpx.get(f"{address}api/page", timeout=120).json()["name"] == "run"
    assert not multiprocessing.active_children()
    assert not (tmp_path / "run").exists(), "the page makes no folder of its own"
