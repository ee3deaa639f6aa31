"""The ten scenes of the paper (Table 5) and two development scenes, as data; a user's own from a file.

Words are the paper's, letter for letter. Its "red object" (scene 4) is the red fruit of scene 1, so
that there are 19 different objects, as the paper says.
"""

from __future__ import annotations

from soar.sim.spec import (
    Camera,
    ClothFolded,
    DrawerOpen,
    Inside,
    OnSide,
    Scene,
    SceneTask,
    Table,
    Thing,
)


def put_and_take(
    thing: str, container: str, preposition: str, take: str
) -> tuple[SceneTask, SceneTask]:
    """The two tasks of a thing and a container; `take` is the paper's wording for the way back."""
    return (
        SceneTask(f"put the {thing} {preposition} the {container}", Inside(thing, container)),
        SceneTask(
            f"{take.format(thing=thing, container=container)} and put it on the table",
            Inside(thing, container, value=False),
        ),
    )


def move_aside(thing: str, place: str = "the {side} side") -> tuple[SceneTask, SceneTask]:
    """To the left and to the right."""
    return (
        SceneTask(f"move the {thing} to {place.format(side='left')}", OnSide(thing, "left")),
        SceneTask(f"move the {thing} to {place.format(side='right')}", OnSide(thing, "right")),
    )


REMOVE_INSIDE = "remove the {thing} from inside the {container}"
REMOVE = "remove the {thing} from the {container}"
TAKE_OUT = "take the {thing} out of the {container}"

_THINGS = {
    t.name: t
    for t in (
        Thing("green block", "block", "green"),
        Thing("blue block", "block", "blue"),
        Thing("red fruit", "fruit", "red"),
        Thing("red object", "fruit", "red"),
        Thing("purple eggplant", "eggplant", "purple"),
        Thing("green marker", "marker", "green"),
        Thing("lemon", "lemon", "yellow"),
        Thing("carrot", "carrot", "orange"),
        Thing("mushroom", "mushroom", "tan"),
        Thing("green spoon", "spoon", "green"),
        Thing("pink spoon", "spoon", "pink"),
        Thing("green veggie", "veggie", "green"),
        Thing("wooden bowl", "bowl", "wooden"),
        Thing("brown bowl", "bowl", "brown"),
        Thing("blue bowl", "bowl", "blue"),
        Thing("green plate", "plate", "green"),
        Thing("blue plate", "plate", "blue"),
        Thing("metal pot", "pot", "metal"),
        Thing("drawer", "drawer", "white"),
        Thing("cloth", "cloth", "teal"),
    )
}


def _soar(
    name: str, things: str, table: str, camera: Camera, *tasks: tuple[SceneTask, ...]
) -> Scene:
    """A scene of the paper: its things by name, separated by commas."""
    return Scene(
        name=name,
        regime="soar",
        things=tuple(_THINGS[t.strip()] for t in things.split(",")),
        table=Table(table),
        camera=camera,
        tasks=tuple(t for group in tasks for t in group),
        barriers=True,
    )


NOMINAL = Camera(position=(0.02, 0.0, 0.56), look_at=(0.30, 0.03, 0.0), fovy_deg=52.0)
LEFT = Camera((0.05, 0.13, 0.56), (0.30, 0.03, 0.0), 52.0)
RIGHT = Camera((0.05, -0.12, 0.55), (0.30, 0.04, 0.0), 52.0)
HIGH = Camera((0.10, 0.03, 0.66), (0.30, 0.03, 0.0), 46.0)

SCENES: dict[str, Scene] = {
    s.name: s
    for s in (
        _soar(
            "1", "green block, red fruit, wooden bowl", "walnut", LEFT,
            put_and_take("green block", "wooden bowl", "in", REMOVE_INSIDE),
            put_and_take("red fruit", "wooden bowl", "in", REMOVE_INSIDE),
        ),
        _soar(
            "2", "purple eggplant, brown bowl", "tile", HIGH,
            put_and_take("purple eggplant", "brown bowl", "in", REMOVE_INSIDE),
        ),
        _soar(
            "3", "green marker, blue block, lemon, wooden bowl", "slate", RIGHT,
            move_aside("green marker"),
            put_and_take("blue block", "wooden bowl", "in", REMOVE_INSIDE),
            put_and_take("lemon", "wooden bowl", "in", REMOVE_INSIDE),
        ),
        _soar(
            "4", "red object, carrot, green plate", "white", HIGH,
            put_and_take("red object", "green plate", "on", TAKE_OUT),
            put_and_take("carrot", "green plate", "on", TAKE_OUT),
        ),
        _soar(
            "5", "drawer", "tile", LEFT,
            (
                SceneTask("open the drawer", DrawerOpen("drawer")),
                SceneTask("close the drawer", DrawerOpen("drawer", value=False)),
            ),
        ),
        _soar(
            "6", "mushroom, blue bowl", "oak", RIGHT,
            put_and_take("mushroom", "blue bowl", "in", REMOVE),
        ),
        _soar(
            "7", "mushroom, metal pot, green spoon", "walnut", RIGHT,
            put_and_take("mushroom", "metal pot", "in", REMOVE),
            move_aside("green spoon", "the {side}"),
        ),
        _soar(
            "8", "carrot, purple eggplant, lemon, blue plate", "slate", LEFT,
            put_and_take("carrot", "blue plate", "on", REMOVE),
            put_and_take("purple eggplant", "blue plate", "on", REMOVE),
            put_and_take("lemon", "blue plate", "on", REMOVE),
        ),
        _soar(
            "9", "green veggie, pink spoon, blue plate", "oak", HIGH,
            put_and_take("green veggie", "blue plate", "on", REMOVE),
            put_and_take("pink spoon", "blue plate", "on", REMOVE),
        ),
        _soar(
            "10", "cloth", "walnut", HIGH,
            (
                SceneTask("fold the cloth from right to left", ClothFolded("cloth")),
                SceneTask("unfold the cloth from left to right", ClothFolded("cloth", value=False)),
            ),
        ),
        Scene(
            "dev1", "dev",
            (
                Thing("orange pepper", "pepper", "orange"),
                Thing("pink block", "block", "pink"),
                Thing("gray bowl", "bowl", "gray"),
            ),
            Table("cherry"), Camera((0.06, 0.11, 0.60), (0.30, 0.03, 0.0), 50.0),
            (
                *put_and_take("orange pepper", "gray bowl", "in", REMOVE_INSIDE),
                *put_and_take("pink block", "gray bowl", "in", REMOVE_INSIDE),
            ),
            barriers=True,
        ),
        Scene(
            "dev2", "dev",
            (
                Thing("purple marker", "marker", "purple"),
                Thing("potato", "potato", "brown"),
                Thing("yellow plate", "plate", "yellow"),
            ),
            Table("mint"), Camera((0.06, -0.10, 0.60), (0.30, 0.03, 0.0), 50.0),
            (
                *move_aside("purple marker"),
                *put_and_take("potato", "yellow plate", "on", REMOVE),
            ),
            barriers=True,
        ),
    )
}  # fmt: skip
