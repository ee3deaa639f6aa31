"""Who may look and who may steer."""

import pytest
from starlette.testclient import TestClient
from tests.watch.conftest import HERE, TOKEN

from soar.errors import ConfigError
from soar.watch.app import PageConfig, make_page
from soar.watch.place import Place

WRITING = (
    "/api/fleet/pause",
    "/api/fleet/emergency",
    "/api/stations/arm-0/stop",
    "/api/stations/arm-0/tasks",
    "/api/episodes/x/label",
    "/api/report",
)


@pytest.mark.parametrize("path", WRITING)
def test_writing_needs_the_token(looker: TestClient, path: str) -> None:
    assert looker.post(path).status_code == 401
    wrong = {"Authorization": "Bearer another"}
    assert looker.post(path, headers=wrong).status_code == 401
    looker.cookies.set("soar-watch-8700", "another")
    assert looker.post(path).status_code == 401


def test_on_this_machine_anyone_may_look(looker: TestClient) -> None:
    assert looker.get("/").status_code == 200
    assert looker.get("/api/page").json()["may_steer"] is False
    assert len(looker.get("/api/episodes").json()["episodes"]) == 12


def test_the_printed_address_makes_a_cookie_that_steers(looker: TestClient) -> None:
    answer = looker.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/", "the token doesn't stay in the address"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert looker.get("/api/page").json()["may_steer"] is True
    assert looker.post("/api/fleet/resume").status_code == 200


@pytest.mark.parametrize(
    "other", ['jupyter={"a": 1}', "theme=dark mode", "user=é", "consent", 'x="', "na/me=1"]
)
def test_cookies_of_other_programs_on_this_machine_dont_hide_the_token(
    looker: TestClient, other: str
) -> None:
    cookie = looker.get("/", params={"token": TOKEN}, follow_redirects=False).headers["set-cookie"]
    looker.cookies.clear()
    both = f"{other}; {cookie.partition(';')[0]}; {other}".encode("latin-1")
    assert looker.post("/api/fleet/resume", headers={b"Cookie": both}).status_code == 200


def test_a_wrong_token_in_the_address_makes_no_cookie(looker: TestClient) -> None:
    answer = looker.get("/", params={"token": "wrong"}, follow_redirects=False)
    assert "set-cookie" not in answer.headers


def test_pages_of_other_origins_are_refused(client: TestClient) -> None:
    foreign = {"Origin": "http://evil.example"}
    assert client.post("/api/fleet/pause", headers=foreign).status_code == 403
    assert client.post("/api/fleet/pause", headers={"Origin": HERE}).status_code == 200


def test_a_name_that_was_turned_to_this_machine_is_refused(looker: TestClient) -> None:
    assert looker.get("/api/episodes", headers={"Host": "evil.example"}).status_code == 403


def test_on_other_addresses_looking_needs_the_token_too(place: Place) -> None:
    client = TestClient(make_page(place, TOKEN, open_here=False), base_url="http://lab:8700")
    assert client.get("/api/episodes").status_code == 401
    assert client.get("/events").status_code == 401
    assert client.get("/").status_code == 200, "the empty page says what to do"
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    assert client.get("/api/episodes").status_code == 200


def test_nothing_comes_from_elsewhere(looker: TestClient) -> None:
    policy = looker.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert looker.get("/static/../app.py").status_code == 404


@pytest.mark.parametrize("token", ["short", "with\nline breaks in it", "ä token that isn't ASCII"])
def test_a_poor_token_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="16 printable"):
        PageConfig(token=token)
