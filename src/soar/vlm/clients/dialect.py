"""Request parameters that a chat server refuses: each is replaced or left out, as far as the server's errors say.

A change is remembered only after a changed request has worked, so that a passing error has no lasting cost.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from soar.utils.files import Json
from soar.vlm.clients.transport import RequestError

_PROBABILITIES = ("logprobs", "top_logprobs")
_EXTRAS = (*_PROBABILITIES, "response_format")
_OPTIONAL = ("max_tokens", "max_completion_tokens", "temperature", *_EXTRAS)
_FEWER_ALTERNATIVES = 5
_LOG = logging.getLogger(__name__)

Changes = Mapping[str, Json]
"""By parameter: its new value, None to leave it out, or the parameter's new name as {"name": ...}."""
NO_EXTRAS: Changes = dict.fromkeys(_EXTRAS)


def adapted(body: Mapping[str, Json], changes: Changes) -> dict[str, Json]:
    """Return a request with the changes."""
    new: dict[str, Json] = {}
    for name, value in body.items():
        change = changes.get(name, value)
        if isinstance(change, dict) and name == "max_tokens":
            name, change = change["name"], value
            change = changes.get(name, value)
        if change is not None:
            new[name] = change
    return new


def remedy(error: RequestError, body: Mapping[str, Json], repeated: bool) -> Changes | None:
    """Return the changes that may overcome an error; None if there are none.

    Args:
        error: the server's refusal.
        body: request that was refused.
        repeated: whether the same request was refused before.
    """
    if error.status not in (400, 422, 500, 501):
        return None
    named = [n for n in _OPTIONAL if n in body and re.search(rf"\b{n}\b", str(error))]
    if named and error.status < 500:
        return {k: v for name in named for k, v in _change(name, body).items()}
    extras = [n for n in _EXTRAS if n in body]
    if not extras:
        return None
    # The error names nothing: the same once more, for it may have passed; then without extras.
    return dict.fromkeys(extras) if repeated or error.status >= 500 else {}


def announce(model: str, changes: Changes) -> None:
    """Log what a server refuses, once it is known."""
    words = ", ".join(sorted(changes))
    coarse = "logprobs" in changes and changes["logprobs"] is None
    _LOG.warning(
        "%s doesn't accept %s as requested; %s from now on",
        model,
        words,
        "answers are 0 or 1 without probabilities" if coarse else "it is asked otherwise",
    )


def _change(name: str, body: Mapping[str, Json]) -> Changes:
    if name == "max_tokens":
        return {name: {"name": "max_completion_tokens"}}
    if name == "top_logprobs" and body[name] > _FEWER_ALTERNATIVES:
        return {name: _FEWER_ALTERNATIVES}
    if name in _PROBABILITIES:
        return dict.fromkeys(_PROBABILITIES)
    return {name: None}
