"""Two contracts are compared field by field, and each difference has a remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from soar.contract.compare import contract_of, differences, require_match, summary
from soar.contract.contract import WIDOWX, ActionNumbers, Camera, Contract, Gripper, Numbers
from soar.contract.convert import as_widowx
from soar.errors import ConfigError
from soar.utils.config import from_plain, to_plain

JOINTS = ("a", "b", "c")
ARM = Contract(
    ActionNumbers(space="joints", joints=JOINTS, gripper=None),
    Numbers(space="joints", joints=JOINTS, gripper=None),
    (Camera("front", 480, 640), Camera("wrist")),
    1 / 15,
)


def test_equal_contracts_have_no_differences() -> None:
    assert differences(WIDOWX, Contract()) == ()


@pytest.mark.parametrize("contract", [WIDOWX, ARM])
def test_a_contract_converts_to_plain_data_and_back(contract: Contract) -> None:
    assert from_plain(Contract, to_plain(contract), "here") == contract


@pytest.mark.parametrize(
    ("part", "change", "field"),
    [
        ("state", {"rotation": "rotvec"}, "state.rotation"),
        ("state", {"zero_rotation": "fingers_up"}, "state.zero_rotation"),
        ("state", {"wrap": "continuous"}, "state.wrap"),
        ("state", {"gripper": Gripper(0, 100)}, "state.gripper"),
        ("action", {"gripper": Gripper(1, 0)}, "action.gripper"),
        ("action", {"gripper": None}, "action.gripper"),
        ("action", {"reference": "absolute"}, "action.reference"),
        ("action", {"angle": "deg"}, "action.angle"),
        ("action", {"length": "mm"}, "action.length"),
        ("action", {"turn": "left"}, "action.turn"),
        ("action", {"frame": "end_effector"}, "action.frame"),
        ("action", {"axes": "x_right_y_forward"}, "action.axes"),
        ("action", {"scale": (0.05,) * 6}, "action.scale"),
        ("action", {"delta_from": "measured"}, "action.delta_from"),
    ],
)
def test_each_field_that_differs_is_named_with_a_remedy(
    part: str, change: dict[str, object], field: str
) -> None:
    other = replace(WIDOWX, **{part: replace(getattr(WIDOWX, part), **change)})
    found = {d.field: d for d in differences(other, WIDOWX)}
    assert field in found
    assert found[field].remedy
    assert not found[field].is_warning
    with pytest.raises(ConfigError, match=r"for arm1 and .* for the policy"):
        require_match(other, WIDOWX, ("arm1", "the policy"))


def test_joints_and_poses_differ_in_the_space_first() -> None:
    assert differences(ARM, WIDOWX)[0].field == "action.space"


def test_no_conversion_is_advised_for_the_range_of_joints() -> None:
    wide = replace(ARM, state=replace(ARM.state, wrap="continuous"))
    with pytest.raises(ConfigError, match="for joints, use a model that learned from this range"):
        require_match(as_widowx(wide), as_widowx(ARM), ("arm1", "the policy"))


def test_another_period_is_a_warning() -> None:
    slow = replace(WIDOWX, period_s=1 / 15)
    [found] = require_match(slow, WIDOWX, ("arm", "policy"))
    assert (found.field, found.is_warning) == ("period_s", True)
    assert (found.left, found.right) == ("0.0666667 s", "0.2 s")


def test_a_camera_that_the_robot_lacks_is_a_difference_and_one_too_many_is_none() -> None:
    two = replace(WIDOWX, cameras=(Camera(), Camera("wrist")))
    assert differences(two, WIDOWX) == ()
    [found] = differences(WIDOWX, two)
    assert (found.field, found.right) == ("cameras", "wrist")


def test_the_state_counts_only_for_a_model_that_takes_it() -> None:
    other = replace(WIDOWX, state=Numbers(rotation="rotvec"))
    assert differences(other, WIDOWX, uses_state=False) == ()


def test_a_component_without_a_contract_declares_none() -> None:
    assert contract_of(object()) is None
    assert contract_of(type("Arm", (), {"contract": ARM})) == ARM
    with pytest.raises(ConfigError, match="is a dict"):
        contract_of(type("Arm", (), {"contract": {}}))


def test_a_summary_names_what_differs_from_the_widowx() -> None:
    assert summary(WIDOWX) == "7-D actions, 7-D states, 0.2 s; cameras primary"
    assert "action.joints a, b, c" in summary(ARM)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"space": "joints"}, "joints are named"),
        ({"joints": JOINTS}, "joints are named"),
        ({"scale": (1.0,)}, "6 numbers other than 0"),
        ({"gripper": Gripper}, ""),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    if message:
        with pytest.raises(ConfigError, match=message):
            Numbers(**fields)
    with pytest.raises(ConfigError, match="closed and open are both"):
        Gripper(1, 1)
    with pytest.raises(ConfigError, match="each with its own name"):
        Contract(cameras=(Camera(), Camera()))
    with pytest.raises(ConfigError, match="valid: left, right"):
        ActionNumbers(rotation="rotvec")
