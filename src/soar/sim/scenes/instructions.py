"""Instructions in words for goals: the paper's own phrases, and variations of them for the other regimes."""

from __future__ import annotations

from soar.sim.scenes.spec import ClothFolded, DrawerOpen, Inside, OnSide, SceneTask

PUT = (
    "put the {thing} {preposition} the {container}",
    "place the {thing} {preposition} the {container}",
    "pick up the {thing} and put it {preposition} the {container}",
)
TAKE = (
    "remove the {thing} from the {container} and put it on the table",
    "take the {thing} out of the {container} and put it on the table",
    "take the {thing} from the {container} and place it on the table",
)
TAKE_IN = (*TAKE, "remove the {thing} from inside the {container} and put it on the table")
TAKE_ON = (*TAKE, "take the {thing} off the {container} and put it on the table")
ASIDE = (
    "move the {thing} to the {side} side",
    "move the {thing} to the {side}",
    "put the {thing} on the {side} side",
)
OPEN = ("open the {drawer}", "pull the {drawer} open")
CLOSE = ("close the {drawer}", "push the {drawer} shut")
FOLD = ("fold the {cloth} from right to left", "fold the {cloth} to the left")
UNFOLD = ("unfold the {cloth} from left to right", "unfold the {cloth}")
REMOVE, TAKE_OUT, _, REMOVE_INSIDE = TAKE_IN


def put_and_take(
    thing: str, container: str, preposition: str, take: str = REMOVE, put: str = PUT[0]
) -> tuple[SceneTask, SceneTask]:
    """The two tasks of a thing and a container, there and back."""
    there = put.format(thing=thing, container=container, preposition=preposition)
    back = take.format(thing=thing, container=container)
    return (
        SceneTask(there, Inside(thing, container)),
        SceneTask(back, Inside(thing, container, value=False)),
    )


def move_aside(thing: str, phrase: str = ASIDE[0]) -> tuple[SceneTask, SceneTask]:
    """To the left and to the right."""
    return (
        SceneTask(phrase.format(thing=thing, side="left"), OnSide(thing, "left")),
        SceneTask(phrase.format(thing=thing, side="right"), OnSide(thing, "right")),
    )


def open_and_close(
    drawer: str, pull: str = OPEN[0], push: str = CLOSE[0]
) -> tuple[SceneTask, SceneTask]:
    """The two tasks of a drawer."""
    return (
        SceneTask(pull.format(drawer=drawer), DrawerOpen(drawer)),
        SceneTask(push.format(drawer=drawer), DrawerOpen(drawer, value=False)),
    )


def fold_and_unfold(
    cloth: str, fold: str = FOLD[0], unfold: str = UNFOLD[0]
) -> tuple[SceneTask, SceneTask]:
    """The two tasks of a cloth."""
    return (
        SceneTask(fold.format(cloth=cloth), ClothFolded(cloth)),
        SceneTask(unfold.format(cloth=cloth), ClothFolded(cloth, value=False)),
    )
