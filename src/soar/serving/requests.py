"""Requests of other programs, read as observations: images, states, instructions and goals by their usual keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from soar.contract.contract import Contract
from soar.errors import ConfigError
from soar.serving.follower import STATE_KEYS, ActRequest, Session
from soar.types import Action, Image, Observation, State
from soar.utils.media import check_size, decode_image

IMAGE_KEYS = (
    "observation/image",
    "observation/exterior_image_1_left",
    "observation.images.primary",
    "images/primary",
    "image",
    "image_primary",
)
"""Keys of the primary camera's image, the first one that is there."""
PROMPT_KEYS = ("prompt", "instruction", "task_description", "lang", "task")
"""Keys of the instruction."""
GOAL_KEYS = ("observation/goal", "goal")
"""Keys of a goal image, which takes the place of a generated subgoal."""
SEED, NOISE, RESET, LAST = "soar/seed", "soar/noise", "soar/reset", "soar/last"
"""Keys of a seed, after which random numbers repeat; of the policy's noise; of the beginning of an episode; and of the
action that was executed last, where it isn't the last one of the replies."""
WANT_SUBGOAL = "observation/want_subgoal"
"""Key of a request for the subgoal along with the action."""


def act_request(session: Session, message: Mapping[str, Any], contract: Contract) -> ActRequest:
    """Read a request for an action.

    Args:
        session: the session that it belongs to.
        message: its values by key; nested ones as in vla-eval's `{"images": {"primary": ...}}` are found as well.
        contract: the policy's contract, which says how many numbers a state has.

    Raises:
        ConfigError: there is neither instruction nor goal, no image, or one of the values isn't valid.
    """
    flat = _flat(message)
    image = _first(flat, IMAGE_KEYS)
    if image is None:
        image = next((v for k, v in flat.items() if k.startswith("images/")), None)
    if image is None:
        raise ConfigError(f"a request needs an image; valid keys: {', '.join(IMAGE_KEYS)}")
    goal, prompt = _first(flat, GOAL_KEYS), _text(_first(flat, PROMPT_KEYS))
    if goal is None and not prompt.strip():
        raise ConfigError(f"a request needs an instruction; valid keys: {', '.join(PROMPT_KEYS)}")
    return ActRequest(
        session,
        Observation(
            image_of(image),
            _state(_first(flat, STATE_KEYS), contract),
            0.0,
            _other_images(flat, contract),
        ),
        prompt,
        None if goal is None else image_of(goal),
        seed_of(flat.get(SEED, flat.get("seed"))),
        _number(NOISE, flat.get(NOISE, 0.0)),
        flag(RESET, flat.get(RESET)),
        _last(flat.get(LAST), contract),
    )


def image_of(value: Any) -> Image:
    """Return an image: an array (h, w, 3) or (3, h, w) of uint8, nested lists of whole numbers, or a PNG or JPEG file.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(value, bytes):
        return decode_image(value, ("PNG", "JPEG"))
    valid = "valid: uint8 of shape (h, w, 3) or (3, h, w), or a PNG or JPEG file"
    try:
        array = np.asarray(value)
    except ValueError:
        raise ConfigError(f"an image isn't an array; {valid}") from None
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
        array = array.astype(np.uint8, copy=False)
    if array.ndim == 4 and len(array) == 1:  # a batch of one, or a history of one frame
        array = array[0]
    if array.ndim == 3 and array.shape[2] != 3 and array.shape[0] == 3:
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ConfigError(f"an image is {array.dtype} of shape {array.shape}; {valid}")
    check_size(array.shape[1], array.shape[0])
    return np.ascontiguousarray(array)


def seed_of(value: Any) -> int | None:
    """Return a seed. Raises ConfigError: it is no whole number from 0."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ConfigError(f"seed is {value!r:.40}; valid: a whole number of at least 0")
    return int(value)


def flag(name: str, value: Any) -> bool:
    """Return a value that is true or false; false where there is none. Raises ConfigError: it is something else."""
    if value is not None and not isinstance(value, bool | int | np.bool_ | np.integer):
        raise ConfigError(f"{name} is {value!r:.40}; valid: true, false")
    return bool(value)


def _text(value: Any) -> str:
    """An instruction, which some clients send as a list of one; "" where there is none. Raises ConfigError."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"an instruction is {value!r:.40}; valid: text")
    return value or ""


def _other_images(flat: Mapping[str, Any], contract: Contract) -> dict[str, Image]:
    """Images of the contract's other cameras. Raises ConfigError: one is missing."""
    images = {}
    for name in contract.camera_names[1:]:
        keys = [f"observation/{name}", f"images/{name}", f"observation.images.{name}"]
        value = _first(flat, keys)
        if value is None:
            raise ConfigError(f"a request needs camera {name}; valid keys: {', '.join(keys)}")
        images[name] = image_of(value)
    return images


def _state(value: Any, contract: Contract) -> State:
    """A state; unknown numbers where there is none. Raises ConfigError."""
    width = contract.state.dim
    if value is None:
        return np.full(width, np.nan, np.float32)
    try:
        state = np.asarray(value, np.float32).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError("a state isn't numbers") from None
    if state.shape != (width,):
        names = ", ".join(contract.state.names)
        raise ConfigError(f"a state has {state.size} numbers; valid: {width} ({names})")
    return state


def _last(value: Any, contract: Contract) -> Action | None:
    """The action that was executed last. Raises ConfigError."""
    if value is None:
        return None
    try:
        action = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        action = np.empty(0, np.float32)
    if action.shape != (contract.action.dim,) or not np.isfinite(action).all():
        raise ConfigError(f"{LAST} isn't an action; valid: {contract.action.dim} finite numbers")
    return action


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < np.inf:
        raise ConfigError(f"{name} is {value!r:.40}; valid: a number of at least 0")
    return number


def _first(flat: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((flat[k] for k in keys if flat.get(k) is not None), None)


def _flat(message: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """Values by key, with those of nested dictionaries as "outer/inner"; the first item of a list of images."""
    flat: dict[str, Any] = {}
    for key, value in message.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth < 3:
            flat |= _flat(value, f"{name}/", depth + 1)
        elif key in ("image", "images") and isinstance(value, Sequence) and _is_several(value):
            flat[name] = value[0]
        else:
            flat[name] = value
    return flat


def _is_several(value: Any) -> bool:
    """Whether a list holds images rather than rows of one."""
    return bool(value) and isinstance(value[0], np.ndarray | bytes) and np.ndim(value[0]) != 2
