"""Comparison of two contracts, field by field, with one line of advice for each difference."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NamedTuple

from soar.contract.contract import WIDOWX, Contract, Gripper, Numbers
from soar.errors import ConfigError

_REMEDIES = {
    "space": "drive joints by poses (`kinematics` in the station's file), or use a model that learned from such an arm",
    "joints": "use a model that learned from these joints, in this order",
    "gripper": "declare the gripper's range in the station's `contract` and add `convert: true`",
    "period_s": "set the robot's period, or spread each action over several steps: `spread: 3` in the models' file",
    "cameras": "name the camera so in the station's `contract`, or use a model that takes these cameras",
    "wrap": "for joints, use a model that learned from this range; for a hand, declare it in the station's "
    "`contract` and add `convert: true`",
}
_CONVERT = "declare it in the station's `contract` and add `convert: true`"
_END_EFFECTOR = ("length", "frame", "axes", "rotation", "zero_rotation")
"""Fields without meaning for joints."""


class Difference(NamedTuple):
    """A field in which two contracts differ."""

    field: str
    """"action.rotation", "period_s", ..."""
    left: str
    right: str
    is_warning: bool = False
    """Whether the two can still work together."""

    @property
    def remedy(self) -> str:
        """Advice in one line."""
        parts = self.field.split(".")
        return _REMEDIES.get(parts[-1], _REMEDIES.get(parts[0], _CONVERT))

    def __str__(self) -> str:
        """Field and both values."""
        return f"{self.field} is {self.left} here and {self.right} there"


def differences(
    robot: Contract, model: Contract, *, uses_state: bool = True
) -> tuple[Difference, ...]:
    """Compare what a robot (or data) means with what a model learned from.

    Another control period is a warning. Sizes of images don't count, because models resize them, nor do cameras that
    the model doesn't take, nor the length of chunks.

    Args:
        robot: the robot's contract.
        model: the model's contract.
        uses_state: whether the model takes the state.
    """
    left, right = facts(robot), facts(model)
    found = [
        Difference(name, left.get(name, "absent"), right.get(name, "absent"))
        for name in {**left, **right}
        if left.get(name) != right.get(name) and (uses_state or not name.startswith("state."))
    ]
    has, takes = robot.camera_names, model.camera_names
    if missing := [name for name in takes if name not in has]:
        found.append(Difference("cameras", ", ".join(has), ", ".join(missing)))
    if abs(robot.period_s - model.period_s) > 1e-3 * model.period_s:
        periods = f"{robot.period_s:g} s", f"{model.period_s:g} s"
        found.append(Difference("period_s", *periods, True))
    return tuple(found)


def require_match(
    robot: Contract, model: Contract, names: tuple[str, str], *, uses_state: bool = True
) -> tuple[Difference, ...]:
    """Return the differences that are only warnings.

    Args:
        robot: the robot's contract.
        model: the model's contract.
        names: of both sides, for the message.
        uses_state: whether the model takes the state.

    Raises:
        ConfigError: the two can't work together; the message names the first difference and its remedy.
    """
    found = differences(robot, model, uses_state=uses_state)
    errors = [d for d in found if not d.is_warning]
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more: `soar doctor`)" if len(errors) > 1 else ""
        raise ConfigError(
            f"{first.field} is {first.left} for {names[0]} and {first.right} for {names[1]}{more}: {first.remedy}"
        )
    return found


def require_unit_gripper(contract: Contract) -> None:
    """Refuse what models can't learn from. Raises ConfigError: a gripper has another range than 0 closed to 1 open."""
    for numbers in (contract.action, contract.state):
        if numbers.gripper not in (None, Gripper()):
            raise ConfigError(
                f"the gripper's range is {numbers.gripper.closed:g} to {numbers.gripper.open:g}; valid for models: "
                "0 closed to 1 open (`convert: true` in the station's file, `soar data import --convert`)"
            )


def contract_of(component: object) -> Contract | None:
    """Return the contract that a robot, policy or checkpoint declares, or what it wraps as `robot` or `policy`.

    Raises:
        ConfigError: its attribute `contract` is something else.
    """
    contract = _first(component, "contract")
    if contract is None or isinstance(contract, Contract):
        return contract
    raise ConfigError(f"contract is a {type(contract).__name__}; valid: a soar Contract")


def declares_contract(robot: object) -> bool:
    """Whether a robot's driver or station file declared its contract, instead of it being taken for the WidowX's."""
    declared = _first(robot, "declares_contract")
    return contract_of(robot) is not None if declared is None else bool(declared)


def takes_state(policy: object) -> bool:
    """Whether a policy takes the state beside images; true if it doesn't say."""
    return _first(policy, "takes_state") is not False


def _first(component: object, name: str) -> Any:
    """Return the first value of an attribute that isn't None, of a component or of what it wraps."""
    while component is not None:
        if (value := getattr(component, name, None)) is not None:
            return value
        component = getattr(component, "robot", None) or getattr(component, "policy", None)
    return None


def facts(contract: Contract) -> dict[str, str]:
    """Return the meaning of actions and states as text, by field, without fields that mean nothing there."""
    parts = {"action": contract.action, "state": contract.state}
    return {f"{k}.{name}": text for k, n in parts.items() for name, text in _facts(n).items()}


def summary(contract: Contract) -> str:
    """Return a contract in one line: its widths, its period, and what differs from the WidowX's."""
    ours, usual = facts(contract), facts(WIDOWX)
    others = [f"{k} {v}" for k, v in ours.items() if usual.get(k) != v]
    sizes = (
        f"{contract.action.dim}-D actions, {contract.state.dim}-D states, {contract.period_s:g} s"
    )
    return "; ".join([sizes, f"cameras {', '.join(contract.camera_names)}", *others])


def _facts(numbers: Numbers) -> dict[str, str]:
    skipped = set(_END_EFFECTOR if numbers.space == "joints" else ("joints",))
    delta = getattr(numbers, "reference", "absolute") == "delta"
    skipped |= {"wrap"} if delta else {"turn", "delta_from", "frame"}
    if numbers.space == "joints" or getattr(numbers, "rotation", "") == "none":
        skipped |= {"turn"}
    if numbers.rotation == "none":
        skipped |= {"zero_rotation"}
    return {
        f.name: _text(getattr(numbers, f.name)) for f in fields(numbers) if f.name not in skipped
    }


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value) or "none"
    if hasattr(value, "closed"):
        return f"{value.closed:g} closed to {value.open:g} open"
    return str(value)
