"""What the page's panels send, and what its buttons do."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise

import pytest
from starlette.testclient import TestClient

from soar.collection.lease import held, station_lease
from soar.collection.status import StatusFolder
from soar.data.store.lance import open_store
from soar.improvement.run import Run
from soar.types import Verdict
from soar.utils.files import write_json
from soar.vlm.labels import read_labels
from soar.watch.episodes import doubt
from soar.watch.feed import Feed
from soar.watch.place import Place, place_of_run
from soar.watch.progress import progress
from soar.watch.results import confusion
from soar.watch.stations import stations


def tile(place: Place, name: str) -> dict:
    values = stations(place).values
    assert values
    return values()[f"station {name}"]


def run_of(place: Place) -> Run:
    assert place.run
    return place.run


# Stations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "command"), [("pause", "pause"), ("stop", "stop"), ("drain", "stop")]
)
def test_commands_reach_the_station(
    client: TestClient, arm: StatusFolder, word: str, command: str
) -> None:
    assert client.post(f"/api/stations/arm 1/{word}").json() == {"stations": ["arm 1"]}
    assert arm.command() == command
    assert client.post("/api/stations/arm 1/resume").status_code == 200
    assert arm.command() == "run"


def test_an_emergency_stop_holds_all_arms_until_they_are_released(
    client: TestClient, arm: StatusFolder, place: Place
) -> None:
    assert set(client.post("/api/fleet/emergency").json()["stations"]) == {"arm 1", "arm-0"}
    assert (arm.folder / "emergency").read_text().startswith("the page of `soar watch`")
    assert tile(place, "arm 1")["command"] == "emergency"
    client.post("/api/stations/arm 1/pause")
    for path in ("/api/fleet/resume", "/api/stations/arm 1/resume"):
        client.post(path)
        assert (arm.folder / "emergency").exists(), "it may be a colleague's, a moment ago"
    assert arm.command() == "run"
    client.post("/api/fleet/release")
    assert not (arm.folder / "emergency").exists()


def test_wrong_commands_and_stations_are_one_line(client: TestClient) -> None:
    answer = client.post("/api/stations/arm-0/dance")
    assert (answer.status_code, answer.json()["error"][:17]) == (400, "no command 'dance")
    answer = client.post("/api/stations/nobody/pause")
    assert answer.status_code == 400
    assert "no station 'nobody'; there is: arm-0" in answer.json()["error"]


def test_a_tile_says_what_a_station_does_and_who_needs_a_person(
    place: Place, arm: StatusFolder
) -> None:
    shown = tile(place, "arm 1")
    assert (shown["activity"], shown["person"], shown["doing"]) == (
        "collecting",
        "",
        "fold <b>it</b>",
    )
    arm.show(replace(arm.status(), missing=("lemon",), duty_cycle=0.9, late_ms=4.0))
    assert tile(place, "arm 1")["person"] == "put back: lemon"
    arm.show(replace(arm.status(), activity="broken", doing="motor 3"))
    assert tile(place, "arm 1")["person"] == "motor 3"
    outcomes = tile(place, "arm-0")["outcomes"]
    assert len(outcomes) == 10
    assert {o["outcome"] for o in outcomes} <= {"success", "failure", "unknown"}
    last = place.opened().load(outcomes[-1]["id"])
    assert outcomes[-1]["length"] == len(last.actions)  # shown until there is a live picture


def test_a_station_whose_process_has_ended_is_gone(place: Place) -> None:
    folder = StatusFolder(place.store, "arm-0")
    folder.show(replace(folder.status(), activity="collecting", pid=os.getpid()))
    assert tile(place, "arm-0")["activity"] == "gone"
    with held(station_lease(place.store, "arm-0"), "it", lambda: None):
        assert tile(place, "arm-0")["activity"] == "collecting"


def test_a_list_of_tasks_is_edited(client: TestClient, arm: StatusFolder, place: Place) -> None:
    path = "/api/stations/arm 1/tasks"
    assert client.post(path, json={"tasks": [" fold it ", "fold it", "roll it"]}).status_code == 200
    assert arm.requested_tasks() == ("fold it", "roll it")
    assert tile(place, "arm 1")["edited"] is True
    client.post(path, json={"tasks": []})
    assert arm.requested_tasks() == ()
    for wrong in (
        {},
        {"tasks": "fold"},
        {"tasks": [""]},
        {"tasks": ["a\x1b[31m"]},
        {"tasks": ["x" * 301]},
        {"tasks": ["x"] * 201},
    ):
        assert client.post(path, json=wrong).status_code == 400, wrong
    assert client.post(path, content=b"{").status_code == 400


# Episodes and labels ---------------------------------------------------------------------------------


def test_episodes_are_filtered_and_shown_with_frames(client: TestClient) -> None:
    everything = client.get("/api/episodes").json()
    assert everything["total"] == 12
    task = everything["tasks"][0]
    assert {
        e["task"] for e in client.get("/api/episodes", params={"task": task}).json()["episodes"]
    } == {task}
    id = everything["episodes"][0]["id"]
    detail = client.get(f"/api/episodes/{id}").json()
    assert detail["subgoals"] == [0, 4]
    assert len(detail["times_s"]) == detail["length"] + 1 == len(detail["gripper"]) + 1
    for path in ("image/0.jpg", "image/8.jpg", "subgoal/4.jpg"):
        answer = client.get(f"/api/episodes/{id}/{path}")
        assert answer.content[:2] == b"\xff\xd8", path
    assert client.get(f"/api/episodes/{id}/film.mp4").headers["content-type"] == "video/mp4"
    assert client.get(f"/api/episodes/{id}/values").json() == {"values": []}


@pytest.mark.parametrize("path", ["nobody", "..%2F..%2Fx", "nobody/image/0.jpg", "nobody/film.mp4"])
def test_an_episode_that_is_not_there_is_one_line(client: TestClient, path: str) -> None:
    answer = client.get(f"/api/episodes/{path}")
    assert answer.status_code in (400, 404)
    assert "\n" not in answer.text


@pytest.mark.parametrize("number", ["²", "-1", "9" * 20, "9" * 5000])
def test_a_number_that_is_none_is_one_line(client: TestClient, number: str) -> None:
    [episode, *_] = client.get("/api/episodes").json()["episodes"]
    for path in (
        f"episodes?from={number}",
        f"episodes/{episode['id']}/image/{number}.jpg",
        f"trials/0/{number}.mp4",
    ):
        answer = client.get(f"/api/{path}")
        assert answer.status_code == 400
        assert "valid: a whole number" in answer.json()["error"]


def test_the_most_doubtful_verdicts_come_first_and_labels_land_in_the_store(
    client: TestClient, place: Place
) -> None:
    queue = client.get("/api/doubtful").json()
    gaps = [abs(e["p"] - 0.5) for e in queue["episodes"]]
    assert gaps == sorted(gaps)
    ids = [e["id"] for e in queue["episodes"][:3]]
    for id, label in zip(ids, ("success", "failure", "unsure"), strict=True):
        assert client.post(f"/api/episodes/{id}/label", json={"label": label}).status_code == 200
    assert read_labels(place.store / "labels.csv") == dict(
        zip(ids, (True, False, None), strict=True)
    )
    left = client.get("/api/doubtful").json()
    assert (left["labeled"], left["left"]) == (3, 9)
    assert not {e["id"] for e in left["episodes"]} & set(ids)
    client.post(f"/api/episodes/{ids[0]}/label", json={"label": ""})
    assert ids[0] not in read_labels(place.store / "labels.csv")


def test_an_episode_without_a_probability_is_the_last_in_doubt(place: Place) -> None:
    [episode, *_] = open_store(place.store, read_only=True).query()
    unknown = replace(episode, verdict=Verdict("unknown"))
    sure = replace(episode, verdict=Verdict("success", 1.0))
    assert doubt(unknown) < doubt(sure) < doubt(replace(episode, verdict=Verdict("failure", 0.4)))


@pytest.mark.parametrize("label", ["yes", None, 3, ["success"]])
def test_a_wrong_label_is_refused(client: TestClient, label: object) -> None:
    id = client.get("/api/episodes").json()["episodes"][0]["id"]
    assert client.post(f"/api/episodes/{id}/label", json={"label": label}).status_code == 400
    assert client.post("/api/episodes/nobody/label", json={"label": "success"}).status_code == 404


# Results and the run ----------------------------------------------------------------------------------


def test_results_have_counts_intervals_and_both_confusions(
    client: TestClient, place: Place
) -> None:
    found = client.get("/api/results").json()
    assert sum(t["attempts"] for t in found["tasks"]) == 12
    assert all(t["low"] <= t["value"] <= t["high"] for t in found["tasks"])
    assert [e["trials"] for e in found["evaluations"]] == [10, 10]
    assert found["truth"]["judged"] == 11
    assert found["labels"]["judged"] == 0
    assert found["over_time"][-1]["episode"] == 12


def test_unsure_labels_and_verdicts_of_persons_are_in_no_confusion(place: Place) -> None:
    [first, second, third, *_] = open_store(place.store, read_only=True).query()
    first = replace(first, verdict=Verdict("success", 1.0, judge="person"))
    second = replace(second, verdict=Verdict("success", 0.9))
    counts = confusion((first, second, third), {first.id: True, second.id: False, third.id: None})
    assert (counts.judged, counts.false_success) == (1, 1)


def test_a_finished_run_has_only_finished_stages_and_films(
    client: TestClient, place: Place
) -> None:
    values = progress(place).values
    assert values
    run = values()["run"]
    states = [(s["name"], s["state"]) for s in run["stages"]]
    assert states[0] == ("success before", "done")
    assert states[-1] == ("report", "now"), "not written yet"
    assert all(state == "done" for _, state in states[:-1])
    write_json(run_of(place).train_folder(1) / "pace.json", {"steps": 12345})
    assert any("of 12345 steps" in s.get("words", "") for s in values()["run"]["stages"])
    assert client.get(run["films"][0]["url"]).headers["content-type"] == "video/mp4"
    assert client.get("/report").status_code == 400
    (run_of(place).folder / "report.html").write_text("<script>1</script>")
    assert "sandbox" in client.get("/report").headers["content-security-policy"]
    assert values()["run"]["stages"][-1]["state"] == "done"


def test_a_run_that_has_not_begun_is_shown_as_such(tmp_path) -> None:
    place = place_of_run(tmp_path / "later")
    values = progress(place).values
    assert values
    assert values()["run"]["stages"][0]["state"] == "now"
    assert stations(place).values() == {}  # type: ignore[misc]
    assert not (tmp_path / "later").exists(), "looking creates nothing"


# Events ------------------------------------------------------------------------------------------------


def test_a_slow_page_gets_the_newest_values_alone() -> None:
    count = iter(range(10**6))
    feed = Feed([lambda: {"station a": {"n": next(count)}, "store": {"same": True}}])

    async def watch() -> list[tuple[str, dict]]:
        ends = time.monotonic() + 2.0
        stream: AsyncIterator[str] = feed.stream(lambda: time.monotonic() > ends)
        seen = []
        async for message in stream:
            if message.startswith("data: "):
                data = json.loads(message.removeprefix("data: "))
                seen.append((data["event"], data["value"]))
            elif message.startswith("event: "):
                seen.append((message.split("\n")[0].removeprefix("event: "), {}))
            if len(seen) == 3:
                await asyncio.sleep(0.7)  # a slow page
        return seen

    seen = asyncio.run(watch())
    assert seen[0][0] == "hello"
    assert seen[-1][0] == "end"
    numbers = [data["n"] for event, data in seen if event == "station"]
    assert numbers == sorted(numbers)
    assert max(b - a for a, b in pairwise(numbers)) > 1, "older ones are left out"
    assert [event for event, _ in seen].count("store") == 1, "what doesn't change is sent once"
