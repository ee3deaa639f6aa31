"""A station whose served policy goes away waits for it, and goes on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from soar.errors import ModelUnavailable
from soar.registry import load_policy
from soar.robots.toy import ToyRobot
from soar.rollout.checked_models import CheckedPolicy

from .conftest import Running, SharedToy, policy_routes


def test_a_killed_server_is_an_outage_that_ends_when_it_is_back(
    serve: Callable[..., Running], toy: SharedToy
) -> None:
    server, heard = serve(policy_routes(toy)), list[tuple[str, str]]()
    policy = CheckedPolicy(
        load_policy(f"openpi:{server.ws}"), lambda role, message: heard.append((role, message))
    )
    request = ([ToyRobot().observe()], ["move the green block to the left side"])
    rng = np.random.default_rng(0)
    policy.reset()
    first = policy.act(*request, rng)
    server.stop()
    for _ in range(2):
        with pytest.raises(ModelUnavailable):
            policy.act(*request, rng)
    serve(policy_routes(toy), port=server.port)
    policy.reset()
    assert np.array_equal(policy.act(*request, rng), first)
    assert [role for role, _ in heard] == ["policy", "policy"]
    assert heard[0][1]
    assert heard[1][1] == ""
