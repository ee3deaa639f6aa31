"""The panel in which a person records, without a browser: pictures that wait, keys, tasks, and who may press."""

from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.watch.conftest import HERE, TOKEN

from soar.collection.recording import RecordingState
from soar.data.store.lance import open_store
from soar.watch.app import make_page
from soar.watch.place import open_place
from soar.watch.recording import RecordingPage

SEEN = RecordingState("fold it", "ready: Enter starts", False, 0, 2, 1, "")


class Desk:
    """A page, and what its person did."""

    def __init__(self, folder: Path) -> None:
        open_store(folder, create=True)
        self.keys, self.tasks = list[str](), list[str]()
        self.page = RecordingPage(self.keys.append, self.tasks.append, ["fold it", "hang it"])
        app = make_page(open_place(folder), TOKEN, panels=[self.page.panel])
        self.looker = TestClient(app, base_url=HERE)
        self.client = TestClient(app, base_url=HERE, headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "store")


def test_a_browser_gets_the_newest_picture_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soar.watch.recording._WAIT_S", 0.05)
    assert "image" not in desk.client.get("/api/record").json()
    desk.page.show(np.zeros((8, 8, 3), np.uint8), SEEN)
    first = desk.client.get("/api/record?after=0").json()
    assert (first["task"], first["kept"], first["ended"]) == ("fold it", 2, False)
    assert first["tasks"] == ["fold it", "hang it"]
    assert desk.client.get(f"/api/record?after={first['number']}").json()["number"] == 1


def test_keys_and_tasks_reach_the_recording_only_with_the_token(desk: Desk) -> None:
    assert desk.looker.post("/api/record/keys", json={"keys": ["w"]}).status_code == 401
    assert desk.client.post("/api/record/keys", json={"keys": ["w", "up"]}).status_code == 200
    assert desk.client.post("/api/record/task", json={"task": " hang it "}).status_code == 200
    assert (desk.keys, desk.tasks) == (["w", "up"], ["hang it"])


@pytest.mark.parametrize(
    ("path", "body"),
    [("keys", {"keys": "w"}), ("keys", {"keys": [1]}), ("keys", None), ("task", {"task": " "}), ("task",
        {"task": "a\nb"}), ("task", {"task": "a" * 301})],
)  # fmt: skip
def test_what_is_no_key_or_task_is_refused_in_one_line(desk: Desk, path: str, body: object) -> None:
    answer = desk.client.post(f"/api/record/{path}", json=body)
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]
    assert not desk.keys + desk.tasks
