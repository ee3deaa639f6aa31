"""The many ways to ask the same thing: question templates for the compact eyes' training corpus.

The first of each kind is the one `soar.tasks.grammar` writes; {in} is "in" or "on", as the container wants it.
"""

from __future__ import annotations

import numpy as np

from soar.tasks.grammar import is_the, preposition, present_question
from soar.tasks.questions import QuestionKind

CANONICAL = 0.6
"""Share of questions asked in the words that tasks and proposals use."""

TEMPLATES: dict[QuestionKind, tuple[str, ...]] = {
    "in": (
        "{is_the} {in} the {container}?",
        "{is_the} currently {in} the {container}?",
        "{is_the} lying {in} the {container}?",
        "{is_the} placed {in} the {container}?",
        "{is_the} inside the {container}?",
        "{is_the} on top of the {container}?",
        "Does the {container} hold the {thing}?",
        "Does the {container} contain the {thing}?",
        "Has the {thing} been put {in} the {container}?",
        "Would you say that the {thing} is {in} the {container}?",
        "Looking at the {container}, is the {thing} {in} it?",
    ),
    "table": (
        "{is_the} on the table?",
        "{is_the} on the table, not {in} the {container}?",
        "{is_the} lying on the table?",
        "{is_the} on the bare table?",
    ),
    "left": (
        "{is_the} on the left side of the table?",
        "{is_the} on the left side?",
        "{is_the} on the left?",
        "{is_the} lying on the left half of the table?",
        "{is_the} at the left side of the image?",
        "Does the {thing} lie on the left side?",
        "Would you find the {thing} on the left of this picture?",
    ),
    "right": (
        "{is_the} on the right side of the table?",
        "{is_the} on the right side?",
        "{is_the} on the right?",
        "{is_the} lying on the right half of the table?",
        "{is_the} at the right side of the image?",
        "Does the {thing} lie on the right side?",
        "Would you find the {thing} on the right of this picture?",
    ),
    "open": (
        "{is_the} open?",
        "{is_the} fully open?",
        "{is_the} currently open?",
        "{is_the} pulled open?",
        "Has the {thing} been opened?",
        "Is somebody done opening the {thing}?",
    ),
    "closed": (
        "{is_the} closed?",
        "{is_the} shut?",
        "{is_the} fully closed?",
        "{is_the} completely closed?",
        "Has the {thing} been closed?",
        "Is somebody done closing the {thing}?",
    ),
    "folded": (
        "{is_the} folded?",
        "{is_the} folded over?",
        "{is_the} currently folded?",
        "{is_the} folded in half?",
        "Has the {thing} been folded?",
        "Do both halves of the {thing} cover one another?",
    ),
    "unfolded": (
        "{is_the} unfolded?",
        "{is_the} lying flat?",
        "{is_the} flat?",
        "{is_the} spread out flat on the table?",
        "Has the {thing} been unfolded?",
        "Does the {thing} cover as much of the table as it can?",
    ),
    "present": (
        "{present}",
        "Is there {a_thing}?",
        "Is there {a_thing} on the table?",
        "Is the {thing} present?",
        "Is the {thing} visible?",
        "Can you see {a_thing}?",
        "Does the image show {a_thing}?",
        "Could a robot find {a_thing} here?",
    ),
}


def ask_in_words(kind: QuestionKind, thing: str, container: str, rng: np.random.Generator) -> str:
    """A question of this kind about these things, mostly in the canonical words."""
    templates = TEMPLATES[kind]
    if rng.random() < CANONICAL:
        return fill(templates[0], thing, container)
    usable = [t for t in templates if container or "{container}" not in t]
    return fill(usable[rng.integers(len(usable))], thing, container)


def fill(template: str, thing: str, container: str = "") -> str:
    """The template in words."""
    present = present_question(thing)
    return template.format(
        is_the=is_the(thing),
        thing=thing,
        container=container,
        present=present,
        a_thing=present.removeprefix("Is there ").removesuffix(" present?"),
        **{"in": preposition(container) if container else "in"},
    )
