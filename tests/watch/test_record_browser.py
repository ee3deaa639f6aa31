"""Demonstrations by a person in a real Chromium (`make test-page`); skipped where Playwright or Chromium is missing."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.watch.test_browser import BROWSER, browser, shot  # noqa: F401

from soar.data.store.lance import open_store
from soar.types import Query

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BROWSER, reason="no Chromium")]
TASK = "move the green block to the left side"


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A `soar record --page` without a terminal."""
    (tmp_path / "arm.yaml").write_text("robot: toy\n")
    command = ["record", "--store", "s", "--station", "arm.yaml", "--page", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "soar", *command, "--task", TASK],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def page(browser: Any, recorder: subprocess.Popen[str]) -> Iterator[Any]:  # noqa: F811
    assert recorder.stdout
    address = recorder.stdout.readline().removeprefix("record in the browser: ").strip()
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(90_000)
    page, problems = context.new_page(), list[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    page.wait_for_selector(".record .frame:not([hidden])")
    yield page
    context.close()
    assert problems == []


def wait_for(page: Any, text: str) -> None:
    page.wait_for_function(
        "text => document.querySelector('.record').innerText.includes(text)", arg=text
    )


def test_a_person_records_discards_stops_and_chooses_a_task_in_the_page(
    page: Any, recorder: subprocess.Popen[str], tmp_path: Path
) -> None:
    keys = page.keyboard
    wait_for(page, "ready: Enter starts")
    keys.press("Enter")
    wait_for(page, "recording, step 0")
    keys.press("ArrowUp")
    wait_for(page, "recording, step 1")
    keys.press("x")
    wait_for(page, "1 thrown away")

    keys.press("Enter")
    wait_for(page, "recording, step 0")
    keys.down("ArrowLeft")  # held, until the arm has moved four times
    page.wait_for_function("() => +document.querySelector('.state').innerText.split(' ')[2] >= 4")
    shot(page, "record")
    keys.up("ArrowLeft")
    keys.press("g")
    page.wait_for_timeout(1500)  # the gripper closes meanwhile
    keys.press("Space")
    wait_for(page, "held: emergency stop")
    keys.press("w")
    page.wait_for_timeout(600)
    keys.press("r")
    wait_for(page, "held: released")
    keys.press("c")
    wait_for(page, "recording")
    keys.press("Enter")
    wait_for(page, "1 kept")

    page.fill(".record input", "fold the cloth")
    keys.press("Enter")
    wait_for(page, "ready: Enter starts")
    page.wait_for_function(
        "() => document.querySelector('.record input').value === 'fold the cloth'"
    )
    page.click(".record [data-key=Enter]")
    wait_for(page, "recording, step 0")
    page.click(".record [data-key=w]")
    wait_for(page, "recording, step 1")
    page.click(".record [data-key=Enter]")
    wait_for(page, "2 kept")
    page.click(".record [data-key=q]")
    wait_for(page, "ended")
    assert recorder.wait(60) == 0

    store = open_store(tmp_path / "s")
    first, second = (store.load(e.id) for e in store.query(Query(outcomes=("success",))))
    assert (first.instruction, second.instruction) == (TASK, "fold the cloth")
    assert set(first.actors) | set(second.actors) == {"person"}
    moved = first.states[-1, :3] - first.states[0, :3]
    assert moved[1] > 0.05  # to the left, ever faster
    assert abs(moved[2]) < 0.005  # not up: the arm was held
    assert first.actions[-1, 6] == 0
    assert len(second) == 1
    assert second.states[-1, 2] > second.states[0, 2]


def holding(page: Any, key: str) -> list[str]:
    """Hold a motion's key until the page repeats it; returns the requests with keys, also later ones."""
    sent: list[str] = []
    page.on("request", lambda r: sent.append(r.post_data) if r.url.endswith("/keys") else None)
    page.keyboard.down(key)
    while len(sent) < 3:
        page.wait_for_timeout(50)
    return sent


def assert_still(page: Any, sent: list[str]) -> None:
    page.wait_for_timeout(200)  # the last request may be under way
    sent.clear()
    page.wait_for_timeout(300)
    assert sent == []


def test_the_arm_stands_once_its_key_is_up_whatever_else_is_pressed(page: Any) -> None:
    keys = page.keyboard
    for others in ((), ("Shift",), ("Control",), ("Shift", "?")):
        sent = holding(page, "KeyW")
        for key in others:
            keys.down(key)
        keys.up("KeyW")
        for key in others:
            keys.up(key)
        assert_still(page, sent)
        keys.press("Escape")


def test_the_arm_stands_and_can_be_stopped_while_a_dialog_is_open(page: Any) -> None:
    keys = page.keyboard
    sent = holding(page, "KeyW")
    keys.press("?")
    assert_still(page, sent)
    for stop in (
        lambda: keys.press("Space"),
        lambda: keys.press("!"),
        lambda: page.click("dialog .emergency"),
    ):
        stop()
        wait_for(page, "held: emergency stop")
        assert page.is_visible("dialog")
        keys.press("Escape")
        keys.press("r")
        wait_for(page, "held: released")
        keys.press("c")
        wait_for(page, "ready")
        keys.press("?")


def test_a_page_without_the_token_moves_nothing(page: Any) -> None:
    context = page.context.browser.new_context()
    other = context.new_page()
    other.goto(page.url.partition("#")[0])
    other.wait_for_selector(".record .frame:not([hidden])")
    other.keyboard.press("Enter")
    other.wait_for_timeout(800)
    assert "ready" in other.inner_text(".record .state")
    assert other.is_disabled(".record [data-key=w]")
    context.close()
