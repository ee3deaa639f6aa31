"""Instructions of goals: the paper's phrases, and variations for the other regimes."""

from __future__ import annotations

from soar.sim.scenes.spec import ClothFolded, DrawerOpen, Inside, OnSide, SceneTask

PUT = (
    "put the {object} {preposition} the {container}",
    "place the {object} {preposition} the {container}",
    "pick up the {object} and put it {preposition} the {container}",
)
TAKE = (
    "remove the {object} from the {container} and put it on the table",
    "take the {object} out of the {container} and put it on the table",
    "take the {object} from the {container} and place it on the table",
)
TAKE_IN = (*TAKE, "remove the {object} from inside the {container} and put it on the table")
TAKE_ON = (*TAKE, "take the {object} off the {container} and put it on the table")
ASIDE = (
    "move the {object} to the {side} side",
    "move the {object} to the {side}",
    "put the {object} on the {side} side",
)
OPEN = ("open the {drawer}", "pull the {drawer} open")
CLOSE = ("close the {drawer}", "push the {drawer} shut")
FOLD = ("fold the {cloth} from right to left", "fold the {cloth} to the left")
UNFOLD = ("unfold the {cloth} from left to right", "unfold the {cloth}")
REMOVE, TAKE_OUT, _, REMOVE_INSIDE = TAKE_IN


def put_and_take(
    name: str, container: str, preposition: str, take: str = REMOVE, put: str = PUT[0]
) -> tuple[SceneTask, SceneTask]:
    """Return the tasks of putting an object into or onto a container, and of taking it out."""
    there = put.format(object=name, container=container, preposition=preposition)
    back = take.format(object=name, container=container)
    return (
        SceneTask(there, Inside(name, container)),
        SceneTask(back, Inside(name, container, value=False)),
    )


def move_aside(name: str, phrase: str = ASIDE[0]) -> tuple[SceneTask, SceneTask]:
    """Return the tasks of moving an object to the left and to the right."""
    return (
        SceneTask(phrase.format(object=name, side="left"), OnSide(name, "left")),
        SceneTask(phrase.format(object=name, side="right"), OnSide(name, "right")),
    )


def open_and_close(
    drawer: str, pull: str = OPEN[0], push: str = CLOSE[0]
) -> tuple[SceneTask, SceneTask]:
    """Return the tasks of opening and closing a drawer."""
    return (
        SceneTask(pull.format(drawer=drawer), DrawerOpen(drawer)),
        SceneTask(push.format(drawer=drawer), DrawerOpen(drawer, value=False)),
    )


def fold_and_unfold(
    cloth: str, fold: str = FOLD[0], unfold: str = UNFOLD[0]
) -> tuple[SceneTask, SceneTask]:
    """Return the tasks of folding and unfolding a cloth."""
    return (
        SceneTask(fold.format(cloth=cloth), ClothFolded(cloth)),
        SceneTask(unfold.format(cloth=cloth), ClothFolded(cloth, value=False)),
    )
