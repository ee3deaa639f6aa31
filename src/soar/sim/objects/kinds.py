"""Catalog of kinds: items, containers, drawer, cabinet and cloth, each from a few primitives.

What collides and what is visible are two sets of parts. An item collides as one box, which makes its contacts cheap and
keeps round objects from rolling away; its visible parts are ellipsoids, capsules and cylinders. A container's walls are
both.

Body frames: an item's origin is the center of its collision box, with its long axis along x, so that a gripper closes
along y. The origin of a container, drawer or cloth is on the table below its center.
"""

from __future__ import annotations

from math import pi

from soar.errors import ConfigError
from soar.sim.objects.parts import COLORS, Part
from soar.sim.objects.shapes import Kind, base, container, item, ring
from soar.sim.scenes.spec import SceneObject

_ALONG_X = (0.0, pi / 2, 0.0)
"""Rotation of a capsule or cylinder from the z axis to the x axis."""

_ITEMS: dict[str, Kind] = {
    "block": item((0.019, 0.019, 0.019), Part("box", (0.019, 0.019, 0.019))),
    "fruit": item(
        (0.018, 0.018, 0.020),
        Part("ellipsoid", (0.024, 0.024, 0.021)),
        Part("capsule", (0.003, 0.006), (0, 0, 0.024), color="brown"),
        Part("ellipsoid", (0.010, 0.005, 0.002), (0.008, 0, 0.025), color="green"),
    ),
    "lemon": item(
        (0.024, 0.017, 0.018),
        Part("ellipsoid", (0.029, 0.020, 0.0185)),
        Part("sphere", (0.007,), (0.027, 0, 0)),
        Part("sphere", (0.006,), (-0.028, 0, 0)),
    ),
    "carrot": item(
        (0.040, 0.013, 0.013),
        Part("capsule", (0.0145, 0.008), (0.022, 0, 0), _ALONG_X),
        Part("capsule", (0.0115, 0.014), (0.000, 0, -0.002), _ALONG_X, shade=0.95),
        Part("capsule", (0.008, 0.014), (-0.026, 0, -0.005), _ALONG_X, shade=0.9),
        Part("ellipsoid", (0.016, 0.005, 0.004), (0.048, 0.006, 0.003), (0, 0, 0.4), color="green"),
        Part(
            "ellipsoid", (0.016, 0.005, 0.004), (0.048, -0.006, 0.003), (0, 0, -0.4), color="green"
        ),
    ),
    "eggplant": item(
        (0.040, 0.016, 0.018),
        Part("ellipsoid", (0.030, 0.021, 0.019), (-0.018, 0, 0)),
        Part("ellipsoid", (0.030, 0.014, 0.014), (0.016, 0, -0.002)),
        Part("ellipsoid", (0.008, 0.013, 0.013), (0.040, 0, -0.002), color="green"),
        Part("capsule", (0.004, 0.006), (0.050, 0, 0), _ALONG_X, color="green"),
    ),
    "mushroom": item(
        (0.024, 0.018, 0.018),
        Part("capsule", (0.0105, 0.012), (-0.012, 0, -0.003), _ALONG_X, color="white"),
        Part("ellipsoid", (0.014, 0.025, 0.021), (0.014, 0, 0.002)),
    ),
    "marker": item(
        (0.055, 0.0105, 0.0105),
        Part("cylinder", (0.0115, 0.036), (-0.018, 0, 0), _ALONG_X),
        Part("cylinder", (0.0120, 0.016), (0.035, 0, 0), _ALONG_X, shade=0.6),
        Part("cylinder", (0.0085, 0.004), (0.054, 0, 0), _ALONG_X, color="white"),
    ),
    "spoon": item(
        (0.050, 0.009, 0.009),
        Part("box", (0.040, 0.0085, 0.006), (-0.018, 0, 0)),
        Part("ellipsoid", (0.025, 0.019, 0.008), (0.040, 0, 0)),
        Part("ellipsoid", (0.017, 0.012, 0.006), (0.040, 0, 0.004), shade=0.7),
    ),
    "veggie": item(
        (0.032, 0.017, 0.017),
        Part("capsule", (0.010, 0.016), (-0.020, 0, -0.004), _ALONG_X, color="white"),
        Part("ellipsoid", (0.022, 0.024, 0.013), (0.016, 0, 0)),
        Part("ellipsoid", (0.018, 0.011, 0.012), (0.026, 0.015, 0.004), (0, 0, 0.5), shade=0.75),
        Part("ellipsoid", (0.018, 0.011, 0.012), (0.026, -0.015, 0.004), (0, 0, -0.5), shade=1.3),
        Part("ellipsoid", (0.016, 0.010, 0.008), (0.010, 0, 0.011), shade=0.85),
    ),
    "cylinder": item((0.017, 0.017, 0.022), Part("cylinder", (0.0205, 0.022))),
    "can": item(
        (0.018, 0.018, 0.028),
        Part("cylinder", (0.0215, 0.0275)),
        Part("cylinder", (0.0125, 0.0285), color="metal"),
    ),
    "cup": item(
        (0.018, 0.018, 0.024),
        Part("cylinder", (0.022, 0.0235)),
        Part("cylinder", (0.015, 0.001), (0, 0, 0.0235), shade=0.45),
        Part("box", (0.009, 0.004, 0.013), (0.028, 0, 0), shade=0.85),
    ),
    "ball": item((0.0185, 0.0185, 0.021), Part("sphere", (0.0235,))),
    "bottle": item(
        (0.046, 0.016, 0.017),
        Part("cylinder", (0.0185, 0.028), (-0.018, 0, 0), _ALONG_X),
        Part("ellipsoid", (0.014, 0.0185, 0.0185), (0.010, 0, 0)),
        Part("cylinder", (0.008, 0.012), (0.028, 0, 0), _ALONG_X),
        Part("cylinder", (0.010, 0.006), (0.042, 0, 0), _ALONG_X, color="white"),
    ),
    "sponge": item(
        (0.034, 0.020, 0.014),
        Part("box", (0.034, 0.020, 0.009), (0, 0, -0.005), shade=0.55),
        Part("box", (0.034, 0.020, 0.005), (0, 0, 0.009)),
    ),
    "tower": item(
        (0.016, 0.016, 0.030),
        Part("box", (0.019, 0.019, 0.015), (0, 0, -0.015), shade=0.6),
        Part("box", (0.015, 0.015, 0.015), (0, 0, 0.015)),
    ),
    "banana": item(
        (0.038, 0.014, 0.014),
        Part("capsule", (0.0135, 0.014), (0, 0.004, 0), _ALONG_X),
        Part("capsule", (0.0115, 0.012), (0.026, -0.004, 0), (0, pi / 2, -0.5)),
        Part("capsule", (0.0115, 0.012), (-0.026, -0.004, 0), (0, pi / 2, 0.5)),
        Part("sphere", (0.006,), (0.045, -0.014, 0), color="brown"),
    ),
    "pear": item(
        (0.026, 0.017, 0.018),
        Part("ellipsoid", (0.022, 0.021, 0.0195), (-0.010, 0, 0)),
        Part("ellipsoid", (0.020, 0.013, 0.013), (0.016, 0, -0.002)),
        Part("capsule", (0.003, 0.005), (0.038, 0, 0), _ALONG_X, color="brown"),
    ),
    "corn": item(
        (0.037, 0.015, 0.016),
        Part("ellipsoid", (0.041, 0.0175, 0.017)),
        Part("ellipsoid", (0.024, 0.020, 0.012), (-0.020, 0, -0.004), color="green"),
    ),
    "potato": item(
        (0.028, 0.018, 0.017),
        Part("ellipsoid", (0.032, 0.022, 0.018)),
        Part("ellipsoid", (0.015, 0.017, 0.015), (0.018, 0.004, 0), shade=0.95),
    ),
    "pepper": item(
        (0.019, 0.019, 0.021),
        Part("ellipsoid", (0.016, 0.016, 0.022), (0.009, 0.009, 0)),
        Part("ellipsoid", (0.016, 0.016, 0.022), (-0.009, 0.009, 0), shade=0.92),
        Part("ellipsoid", (0.016, 0.016, 0.022), (0.009, -0.009, 0), shade=0.92),
        Part("ellipsoid", (0.016, 0.016, 0.022), (-0.009, -0.009, 0)),
        Part("capsule", (0.004, 0.008), (0, 0, 0.024), color="dark green"),
    ),
    "brush": item(
        (0.052, 0.010, 0.010),
        Part("capsule", (0.0095, 0.034), (-0.016, 0, 0), _ALONG_X),
        Part("box", (0.016, 0.014, 0.010), (0.040, 0, 0), color="white", shade=0.9),
    ),
    "fish": item(
        (0.036, 0.014, 0.015),
        Part("ellipsoid", (0.034, 0.018, 0.015)),
        Part("box", (0.010, 0.015, 0.004), (-0.038, 0, 0), (0, 0, pi / 4), shade=0.7),
        Part("sphere", (0.004,), (0.024, 0.009, 0.009), color="black"),
        Part("sphere", (0.004,), (0.024, -0.009, 0.009), color="black"),
    ),
    "star": item(
        (0.018, 0.018, 0.014),
        Part("box", (0.019, 0.019, 0.014)),
        Part("box", (0.019, 0.019, 0.014), turn=(0, 0, pi / 4)),
    ),
}


def _tray(x: float, y: float, rim: float, thick: float = 0.004) -> tuple[Part, ...]:
    """Return a rectangle with a rim, by half sizes."""
    return (
        Part("box", (x, y, thick / 2), (0, 0, thick / 2), solid=True, shade=0.9),
        Part("box", (x, thick / 2, rim / 2), (0, y, rim / 2), solid=True),
        Part("box", (x, thick / 2, rim / 2), (0, -y, rim / 2), solid=True),
        Part("box", (thick / 2, y, rim / 2), (x, 0, rim / 2), solid=True),
        Part("box", (thick / 2, y, rim / 2), (-x, 0, rim / 2), solid=True),
    )


def _handle(x: float, z: float, length: float = 0.012) -> Part:
    return Part("box", (length, 0.012, 0.005), (x, 0, z), solid=True, color="black")


_CONTAINERS: dict[str, Kind] = {
    "bowl": container(
        (*base(0.048, 0.006), *ring(0.046, 0.065, 0.040, base=0.003)), 0.073, 0.043, 0.052, 0.006
    ),
    "plate": container(
        (*base(0.062, 0.006), *ring(0.058, 0.070, 0.010, base=0.003)),
        0.078, 0.013, 0.058, 0.006, "on",
    ),
    "pot": container(
        (
            *base(0.057, 0.006),
            *ring(0.055, 0.060, 0.044, base=0.002),
            _handle(0.074, 0.038),
            _handle(-0.074, 0.038),
        ),
        0.086, 0.046, 0.054, 0.006,
    ),
    "pan": container(
        (
            *base(0.058, 0.006),
            *ring(0.056, 0.062, 0.022, base=0.003),
            _handle(-0.105, 0.018, 0.040),
        ),
        0.100, 0.025, 0.052, 0.006, "in", 400.0,
    ),
    "tray": container(_tray(0.058, 0.085, 0.016), 0.100, 0.016, 0.055, 0.004, "on"),
    "basket": container(_tray(0.055, 0.060, 0.040), 0.080, 0.040, 0.048, 0.004),
}  # fmt: skip

KINDS: dict[str, Kind] = {
    **_ITEMS,
    **_CONTAINERS,
    "drawer": Kind("drawer", (), radius=0.13, height=0.070),
    "cabinet": Kind("door", (), radius=0.10, height=0.070),
    "cloth": Kind("cloth", (), radius=0.10, height=0.004),
}
"""All kinds by name. A scene may give its objects other names."""


def kind_of(object: SceneObject) -> Kind:
    """Return the kind of an object. Raises ConfigError for a kind or color that doesn't exist."""
    if object.kind not in KINDS:
        raise ConfigError(f"no kind of object '{object.kind}'; valid: {', '.join(sorted(KINDS))}")
    if object.color not in COLORS:
        raise ConfigError(f"no color '{object.color}'; valid: {', '.join(sorted(COLORS))}")
    return KINDS[object.kind]
