"""Names that an object would share with the arm, or with a part of another object."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco

from soar.errors import ConfigError
from soar.sim.arm import FINGERS, JOINTS, add_arm
from soar.sim.objects.builder import add_object
from soar.sim.scenes.spec import SceneObject

_ARM = ", ".join(("world", "base", *JOINTS, *FINGERS))


def check_names(objects: Sequence[SceneObject]) -> None:
    """Raise ConfigError: an object's name is the arm's, or that of another object's part, such as a cloth's strip."""
    spec = mujoco.MjSpec()
    try:
        add_arm(spec)
        for obj in objects:
            add_object(spec, obj)
            if not all(joint.name for joint in spec.joints):
                raise ConfigError(_refusal(f"repeated name '{obj.name}' in joint"))
    except ValueError as error:  # so MuJoCo refuses a body's name; a free joint loses its own
        raise ConfigError(_refusal(str(error).removeprefix("Error: "))) from error


def _refusal(detail: str) -> str:
    return (
        f"an object has the name of a part of the arm or of another object: {detail}; valid: names other than {_ARM}, "
        "and those of parts, such as 'cloth strip 1'"
    )
