"""The page of a store in object storage in a real Chromium, on another machine than its station."""

import contextlib
import threading
from pathlib import Path

import pytest
from tests.watch import test_browser
from tests.watch.conftest import TOKEN
from tests.watch.test_browser import BROWSER, collecting, shot
from tests.watch.test_object_store import machine, until

from soar.utils.files import local_path
from soar.utils.objects import ObjectPath
from soar.vlm.labels import read_labels
from soar.watch.app import PageConfig, PageServer
from soar.watch.place import open_place

pytestmark = test_browser.pytestmark


def test_the_page_in_a_browser_on_another_machine(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, problems = f"{bucket}/lab", list[str]()
    with contextlib.ExitStack() as stack:
        process = collecting(store, "arm1")
        stack.callback(process.wait)
        stack.callback(process.kill)
        until((ObjectPath(store) / "stations/arm1/status.json").exists)
        machine(monkeypatch, tmp_path / "page")
        place = open_place(local_path(store))
        server = PageServer(place, PageConfig(port=0, token=TOKEN))
        thread = threading.Thread(target=server.run)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.end)
        driver = stack.enter_context(test_browser.playwright.sync_playwright())
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(120_000)
        page.on("console", lambda m: problems.extend([m.text] if m.type == "error" else []))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(server.address)
        page.wait_for_selector(".tile[data-name=arm1] .dot.collecting")
        page.wait_for_selector(".tile .frame:not([hidden])")
        shot(page, "object-store-collecting")
        page.focus(".tile[data-name=arm1]")
        page.keyboard.press("p")
        page.wait_for_selector(".tile[data-name=arm1] .dot.paused")
        page.keyboard.press("3")
        page.wait_for_selector(".labeling .film")
        shot(page, "object-store-label")
        text = page.inner_text(".queue span")
        page.keyboard.press("s")
        page.wait_for_function("old => document.querySelector('.queue span')?.innerText !== old", arg=text)  # fmt: skip
        assert [*read_labels(ObjectPath(store) / "labels.csv").values()] == [True]
        page.keyboard.press("4")
        page.wait_for_selector("svg.chart, .numbers")
        shot(page, "object-store-results")
        browser.close()
    assert problems == []
