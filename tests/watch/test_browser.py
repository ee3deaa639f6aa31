"""The page in a real Chromium, driven by Playwright (`make test-page`); skipped where one of them is missing.

Screenshots are kept in the folder that SOAR_SHOTS names.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn
from tests.watch.conftest import TOKEN

from soar.collection.status import StatusFolder
from soar.serving.server import listen
from soar.vlm.labels import read_labels
from soar.watch.app import PageConfig, make_page
from soar.watch.place import place_of_run

playwright = pytest.importorskip("playwright.sync_api", reason="the extra page isn't installed")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BROWSER, reason="no Chromium")]
LAB = Path(__file__).with_name("lab.py")
_LOUD = ("error", "warning")
_WAIT_MS = 120_000
"""Patience with a machine that does much else."""


def collecting(store: Path | str, *names: str) -> subprocess.Popen[bytes]:
    """Start a process with stations, each a slow toy robot."""
    places = [str(LAB.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    return subprocess.Popen([sys.executable, str(LAB), str(store), *names], env=environment)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A store with two stations in two processes, and the process of the second."""
    store = tmp_path_factory.mktemp("lab") / "store"
    first, second = collecting(store, "arm1"), collecting(store, "arm2")
    yield store, second
    for process in (first, second):
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def address(lab: tuple[Path, Any]) -> Iterator[str]:
    """The page's address with its token."""
    listening = listen(PageConfig(port=0))
    app = make_page(place_of_run(lab[0].parent), TOKEN)
    options = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(options)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/?{urlencode({'token': TOKEN})}"
    server.should_exit = server.force_exit = True
    thread.join()
    listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=BROWSER, args=flags)
        yield browser
        browser.close()


@pytest.fixture(params=["dark", "light", "phone"])
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The opened page, in both colors and on a phone; fails at any message of the console."""
    is_phone = request.param == "phone"
    context = browser.new_context(
        color_scheme="dark" if request.param == "dark" else "light",
        viewport={"width": 390, "height": 844} if is_phone else {"width": 1280, "height": 860},
        has_touch=is_phone,
    )
    context.set_default_timeout(_WAIT_MS)
    page, problems = context.new_page(), list[str]()
    page.on("console", lambda m: problems.extend([m.text] if m.type in _LOUD else []))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    page.wait_for_selector(".tile .frame:not([hidden])")
    yield page
    wide = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    context.close()
    assert problems == []
    assert wide == 0, "wider than the window"


def shot(page: Any, name: str) -> None:
    if folder := os.environ.get("SOAR_SHOTS"):
        size = page.viewport_size["width"]
        scheme = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        page.screenshot(path=f"{folder}/{name}-{'dark' if scheme else 'light'}-{size}.png")


def test_every_panel_opens_by_keyboard(page: Any) -> None:
    for key, selector in (
        ("2", ".episode img"),
        ("3", ".labeling .film"),
        ("4", "svg.chart, .numbers"),
        ("5", ".detail"),
        ("1", ".tile"),
    ):
        page.keyboard.press(key)
        page.wait_for_selector(selector)
        page.wait_for_timeout(700)
        shot(page, f"panel-{key}")
    page.keyboard.press("?")
    assert "emergency stop" in page.inner_text("dialog")
    page.keyboard.press("Escape")
    assert not page.is_visible("dialog")


def test_a_station_is_paused_and_resumed_by_keyboard(page: Any, lab: tuple[Path, Any]) -> None:
    folder = StatusFolder(lab[0], "arm1")
    page.focus(".tile[data-name=arm1]")
    page.keyboard.press("p")
    page.wait_for_selector(".tile[data-name=arm1] .dot.paused")
    assert folder.command() == "pause"
    page.keyboard.press("p")
    page.wait_for_selector(".tile[data-name=arm1] .dot.collecting")
    page.keyboard.press("t")
    page.fill("dialog textarea", "move the green block to the left side")
    page.click("dialog .primary")
    page.wait_for_selector("dialog", state="hidden")
    assert folder.requested_tasks() == ("move the green block to the left side",)


def test_labels_by_keyboard_land_in_the_store(page: Any, lab: tuple[Path, Any]) -> None:
    file = lab[0] / "labels.csv"
    page.keyboard.press("3")
    page.wait_for_selector(".labeling .film")
    before = read_labels(file)
    for key, expected in (("s", True), ("f", False), ("u", None)):
        number = len(read_labels(file))
        text = page.inner_text(".queue span")
        page.keyboard.press(key)
        page.wait_for_function("old => document.querySelector('.queue span')?.innerText !== old", arg=text)  # fmt: skip
        labels = read_labels(file)
        assert len(labels) == number + 1
        assert list(labels.values())[-1] is expected
    page.keyboard.press("b")
    until = time.monotonic() + _WAIT_MS / 1000
    while len(read_labels(file)) != len(before) + 2 and time.monotonic() < until:
        page.wait_for_timeout(100)
    assert len(read_labels(file)) == len(before) + 2


def test_an_emergency_stop_holds_every_arm(page: Any, lab: tuple[Path, Any]) -> None:
    page.keyboard.press("!")
    page.wait_for_selector(".tile[data-name=arm1] .dot.held")
    shot(page, "held")
    page.focus(".tile[data-name=arm1]")
    page.keyboard.press("p")
    page.click("#fleet >> text=Resume")
    assert StatusFolder(lab[0], "arm1").command() == "run"
    assert (lab[0] / "stations" / "arm1" / "emergency").exists()
    page.click("#fleet >> text=Release")
    page.wait_for_selector(".tile[data-name=arm1] .needs:has-text('lets the arm move again')")
    assert page.is_visible(".tile[data-name=arm1] .dot.held")
    page.click("#fleet >> text=Resume")
    page.wait_for_selector(".tile[data-name=arm1] .dot.collecting")


def test_a_page_without_the_token_is_read_only(browser: Any, address: str, lab: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address.split("?")[0])
    page.wait_for_selector(".tile")
    assert page.is_disabled(".tile button >> nth=0")
    assert "Read-only" in page.inner_text("#notice")
    context.close()


def test_a_killed_station_turns_gray(browser: Any, address: str, lab: tuple[Path, Any]) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    page.set_default_timeout(_WAIT_MS)
    page.goto(address)
    page.wait_for_selector(".tile[data-name=arm2] .dot.collecting")
    lab[1].kill()
    lab[1].wait()
    page.wait_for_selector(".tile.old.person[data-name=arm2] .dot.gone")
    assert "soar collect" in page.inner_text(".tile[data-name=arm2] .needs")
    assert page.is_visible(".tile[data-name=arm1]:not(.person)")
    shot(page, "gone")
    context.close()
