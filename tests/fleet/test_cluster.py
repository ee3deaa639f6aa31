"""A station's way to its replicas, with a few lines in place of Ray."""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from soar.errors import ConfigError, ModelUnavailable
from soar.fleet.cluster import RayReplicas


class Lost(Exception):
    pass


@pytest.fixture
def replies(monkeypatch) -> dict[str, Any]:
    """What each replica replies, by name; an exception is raised."""
    found: dict[str, Any] = {}

    def get(reply: Any, timeout: float) -> Any:
        if isinstance(reply, Lost):
            raise reply
        return reply

    def get_actor(name: str, namespace: str) -> Any:
        if name not in found:
            raise ValueError("no such actor")
        return SimpleNamespace(answer=SimpleNamespace(remote=lambda model, requests: found[name]))

    fake = SimpleNamespace(
        get=get,
        get_actor=get_actor,
        cancel=lambda reply: None,
        exceptions=SimpleNamespace(RayError=Lost),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    return found


def test_after_a_failure_the_next_replica_is_asked(replies):
    replicas = pickle.loads(pickle.dumps(RayReplicas("soar-x", "policy", 2, 1.0, "arm1")))
    replies |= {"policy-0": Lost(), "policy-1": Lost()}
    with pytest.raises(ModelUnavailable, match=r"replica policy-. doesn't answer \(Lost\)"):
        replicas.answer("gcbc", ["request"])
    replies |= {"policy-0": ["action"], "policy-1": ["action"]}
    assert replicas.answer("gcbc", ["request"]) == ["action"]
    del replies["policy-0"], replies["policy-1"]
    with pytest.raises(ModelUnavailable, match="LookupError"):
        replicas.answer("gcbc", ["request"])


def test_an_error_of_the_model_is_raised_as_it_is(replies):
    replies["vlm-0"] = ConfigError("no such model")
    with pytest.raises(ConfigError, match="no such model"):
        RayReplicas("soar-x", "vlm", 1, 1.0, "arm1").answer("x", [])
