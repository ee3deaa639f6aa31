"""The page in a browser; skipped where no Chromium is installed."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from soar.collection.status import StatusFolder
from soar.improvement.run import Run
from soar.report.page import write_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
PROBE = """<script>
const errors = [];
addEventListener("error", e => errors.push(e.message || e.target.tagName), true);
addEventListener("load", async () => {
  const videos = [...document.querySelectorAll("video")], root = document.documentElement;
  await Promise.all(videos.map(v => v.readyState || new Promise(done => {
    v.addEventListener("loadedmetadata", done); v.addEventListener("error", done); v.load();
  })));
  document.body.dataset.seen = JSON.stringify({
    errors, overflow: root.scrollWidth - root.clientWidth,
    videos: videos.map(v => v.videoWidth), figures: document.querySelectorAll("svg").length,
    loaded: performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).length,
  });
});
</script>"""


@pytest.mark.skipif(not BROWSER, reason="no Chromium")
@pytest.mark.parametrize("width", [500, 1200])
def test_a_browser_shows_the_whole_page(run: Run, tmp_path: Path, width: int) -> None:
    """With a word of 5,000 letters, too, in each text that others give."""
    copy, word = Run(tmp_path / "run"), 5000 * "x"
    shutil.copytree(run.folder, copy.folder)
    record = run.record()
    models = {**record.models, "vlm": word}
    copy.write(replace(record, title=word, command=word, models=models, config={word: word}))
    StatusFolder(copy.store, "arm-0").note("robot fault", word)
    page = write_report(copy.folder, tmp_path / "report.html")
    assert page.read_text().count(word) > 4
    page.write_text(page.read_text().replace("<body>", "<body>" + PROBE, 1))
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}/profile",
    ]
    command += [f"--window-size={width},900", "--virtual-time-budget=10000", "--dump-dom", page.as_uri()]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'data-seen="(.*?)"', shown)
    assert found, shown[:500]
    seen = json.loads(unescape(found[1]))
    assert seen["errors"] == []
    assert seen["overflow"] == 0, "wider than the window"
    assert len(seen["videos"]) > 1
    assert all(seen["videos"]), "a video that the browser can't read"
    assert seen["figures"] > 2
    assert seen["loaded"] == 0, "something from elsewhere"
