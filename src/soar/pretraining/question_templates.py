"""Question templates of the compact VLM's training corpus: many wordings of each kind of question.

The first wording of each kind is the one that tasks use (`soar.tasks.questions`); {in} is the container's preposition.
"""

from __future__ import annotations

import numpy as np

from soar.tasks.noun_phrases import is_plural, preposition, with_article
from soar.types import QuestionKind

CANONICAL = 0.6
"""Share of questions in the wording that tasks use."""

TEMPLATES: dict[QuestionKind, tuple[str, ...]] = {
    "in": (
        "{is_the} {in} the {container}?",
        "{is_the} currently {in} the {container}?",
        "{is_the} lying {in} the {container}?",
        "{is_the} placed {in} the {container}?",
        "{is_the} inside the {container}?",
        "{is_the} on top of the {container}?",
        "Does the {container} hold the {object}?",
        "Does the {container} contain the {object}?",
        "Has the {object} been put {in} the {container}?",
        "Would you say that the {object} is {in} the {container}?",
        "Looking at the {container}, is the {object} {in} it?",
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
        "Does the {object} lie on the left side?",
        "Would you find the {object} on the left of this picture?",
    ),
    "right": (
        "{is_the} on the right side of the table?",
        "{is_the} on the right side?",
        "{is_the} on the right?",
        "{is_the} lying on the right half of the table?",
        "{is_the} at the right side of the image?",
        "Does the {object} lie on the right side?",
        "Would you find the {object} on the right of this picture?",
    ),
    "open": (
        "{is_the} open?",
        "{is_the} fully open?",
        "{is_the} currently open?",
        "{is_the} pulled open?",
        "Has the {object} been opened?",
        "Is somebody done opening the {object}?",
    ),
    "closed": (
        "{is_the} closed?",
        "{is_the} shut?",
        "{is_the} fully closed?",
        "{is_the} completely closed?",
        "Has the {object} been closed?",
        "Is somebody done closing the {object}?",
    ),
    "folded": (
        "{is_the} folded?",
        "{is_the} folded over?",
        "{is_the} currently folded?",
        "{is_the} folded in half?",
        "Has the {object} been folded?",
        "Do both halves of the {object} cover one another?",
    ),
    "unfolded": (
        "{is_the} unfolded?",
        "{is_the} lying flat?",
        "{is_the} flat?",
        "{is_the} spread out flat on the table?",
        "Has the {object} been unfolded?",
        "Does the {object} cover as much of the table as it can?",
    ),
    "present": (
        "Is there {an_object} present?",
        "Is there {an_object}?",
        "Is there {an_object} on the table?",
        "Is the {object} present?",
        "Is the {object} visible?",
        "Can you see {an_object}?",
        "Does the image show {an_object}?",
        "Could a robot find {an_object} here?",
    ),
}


def sample_wording(
    kind: QuestionKind, object: str, container: str, rng: np.random.Generator
) -> str:
    """Sample a question of a kind; a share of CANONICAL in the wording that tasks use.

    Args:
        kind: any but "other".
        object: noun phrase without an article.
        container: noun phrase without an article, or "" for none.
        rng: decides on the wording.
    """
    templates = TEMPLATES[kind]
    if rng.random() < CANONICAL:
        return fill(templates[0], object, container)
    usable = [t for t in templates if container or "{container}" not in t]
    return fill(usable[rng.integers(len(usable))], object, container)


def fill(template: str, object: str, container: str = "") -> str:
    """Fill a template with the names of an object and a container."""
    return template.format(
        is_the=f"{'Are' if is_plural(object) else 'Is'} the {object}",
        object=object,
        container=container,
        an_object=with_article(object),
        **{"in": preposition(container) if container else "in"},
    )
