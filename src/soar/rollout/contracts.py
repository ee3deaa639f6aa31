"""Comparison of robots' contracts with the one that a policy learned from, before a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from soar.contract.compare import contract_of, require_match, takes_state
from soar.contract.contract import WIDOWX, Contract
from soar.interfaces import Policy, Robot

log = logging.getLogger(__name__)


def robot_contract(robot: Robot) -> Contract:
    """Return a robot's contract: the one that it declares, or the WidowX's with the robot's period."""
    return contract_of(robot) or replace(WIDOWX, period_s=robot.period_s)


def require_contracts(robots: Sequence[tuple[str, Robot]], policy: Policy) -> None:
    """Compare the contracts of robots, by name, with a policy's. A policy that declares none is taken as it is.

    Raises:
        ConfigError: a robot and the policy can't work together; the message names the remedy. Other differences, such
            as the period, are logged.
    """
    learned = contract_of(policy)
    if learned is None:
        return
    for name, robot in robots:
        names = (name, f"policy {policy.name}")
        for difference in require_match(
            robot_contract(robot), learned, names, uses_state=takes_state(policy)
        ):
            log.warning("%s and %s: %s; %s", *names, difference, difference.remedy)
