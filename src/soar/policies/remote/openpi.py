"""Policies behind openpi's protocol: openpi, vLLM-Omni, RoboArena, `soar serve policy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from soar.contract.compare import differences
from soar.contract.contract import WIDOWX, Contract
from soar.errors import ConfigError
from soar.interfaces import Policy
from soar.policies.chunks import ChunkBroker
from soar.policies.remote.actions import Meaning
from soar.policies.remote.connection import Connection
from soar.policies.remote.options import OPENPI_PIXELS, RemoteOptions, pad_to
from soar.policies.remote.policy import RemotePolicy
from soar.types import Image, Images, Observation, State
from soar.utils.config import from_plain

_MOST_CONNECTIONS = 64
"""Most connections to one server at a time."""


def connect_openpi(url: str, /, **options: Any) -> Policy:
    """Return a served policy.

    Args:
        url: ws://HOST:PORT, with or without a path; "#VARIABLE" at the end names the environment variable of a key.
        options: fields of `RemoteOptions`.

    Raises:
        ConfigError: an option isn't valid, or the server declares something else.
        ModelUnavailable: the server can't be reached.
    """
    address, _, variable = url.partition("#")
    if variable:
        options = {**options, "key": variable}
    policy = OpenPIPolicy(
        address, from_plain(RemoteOptions, options, f"options of openpi:{address}")
    )
    chunk = policy.options.chunk
    return ChunkBroker(policy, chunk) if chunk > 1 else policy


class OpenPIPolicy(RemotePolicy):
    """A client. A server of this package gets all observations in one message, any other each on its own connection."""

    def __init__(self, url: str, options: RemoteOptions) -> None:
        limits = (options.key, options.first_timeout_s, options.timeout_s)
        self._new_connection = partial(Connection, url, *limits)
        self._connections = [self._new_connection()]
        metadata = self._connections[0].metadata()
        self._soar = metadata.get("soar")
        declared = _declared(self._soar, url)
        _check(metadata, declared, options, url)
        name = f"openpi {metadata.get('name') or url}"
        super().__init__(name, options, Meaning(options.contract or declared, options.present))
        self.checkpoint_id = str(metadata.get("checkpoint") or "")
        self._side = _side(metadata) if options.resize is None else options.resize
        self._begins = True
        self._threads = ThreadPoolExecutor(_MOST_CONNECTIONS, "openpi")

    def ask(
        self,
        observations: Sequence[Observation],
        states: Sequence[State],
        goals: Images | Sequence[str],
        scales: Float[np.ndarray, " n"],
        rng: np.random.Generator,
    ) -> object:
        """See `RemotePolicy.ask`."""
        messages = [
            self._message(i, len(observations), o, state, goal)
            for i, (o, state, goal) in enumerate(zip(observations, states, goals, strict=True))
        ]
        if self._soar is None:
            return self._ask_each(messages)
        self._add_extras(messages, isinstance(goals, np.ndarray), scales, rng)
        answers = self._connections[0].ask({"batch": messages}).get("actions")
        self._begins = False
        return answers

    def reset(self) -> None:
        """Begin an episode."""
        super().reset()
        self._begins = True

    def recover(self) -> None:
        """Close the connections after an outage; the next request opens others."""
        for connection in self._connections:
            connection.close()

    def _message(
        self, index: int, count: int, observation: Observation, state: State, goal: Image | str
    ) -> dict[str, Any]:
        keys = self.options.keys
        words = goal if isinstance(goal, str) else self.instruction(index, count)
        values = {
            keys.image: self._fit(observation.image),
            keys.state: state,
            keys.instruction: words,
            keys.goal: "" if isinstance(goal, str) else self._fit(goal),
        }
        for camera, key in keys.cameras.items():
            if camera not in observation.other_images:
                raise ConfigError(f"the robot has no camera '{camera}', which {self.name} is sent")
            values[key] = self._fit(observation.other_images[camera])
        if self.options.unnorm_key:
            values["unnorm_key"] = self.options.unnorm_key
        return {key: v for key, v in values.items() if key and not (isinstance(v, str) and not v)}

    def _fit(self, image: Image) -> Image:
        return pad_to(image, self._side) if self._side else image

    def _add_extras(
        self,
        messages: Sequence[dict[str, Any]],
        reaches_images: bool,
        scales: Float[np.ndarray, " n"],
        rng: np.random.Generator,
    ) -> None:
        """Add what only servers of this package take: noise, seeds, and where an episode begins."""
        for i, message in enumerate(messages):
            if self._begins:
                message["soar/reset"] = True
            elif self._last is not None:
                message["soar/last"] = self._last[i * len(self._last) // len(messages)]
            if scales[i]:
                message["soar/noise"] = float(scales[i])
            if scales[i] or (self._begins and not reaches_images):
                message["soar/seed"] = int(rng.integers(2**31))

    def _ask_each(self, messages: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Ask each question on a connection of its own, at the same time, and return the chunks."""
        while len(self._connections) < len(messages):
            self._connections.append(self._new_connection())
        asked = [
            self._threads.submit(connection.ask, message)
            for connection, message in zip(self._connections, messages, strict=False)
        ]
        answers = [job.result().get("actions") for job in asked]
        return [a[None] if isinstance(a, np.ndarray) and a.ndim == 1 else a for a in answers]


def _declared(soar: Any, url: str) -> Contract | None:
    """The contract that a server of this package declares. Raises ConfigError: it is no contract."""
    if not isinstance(soar, Mapping) or "contract" not in soar:
        return None
    return from_plain(Contract, soar["contract"], f"contract of {url}")


def _check(
    metadata: Mapping[str, Any], declared: Contract | None, options: RemoteOptions, url: str
) -> None:
    """Compare the options with what the server says of itself. Raises ConfigError."""
    wanted = options.contract
    if declared and wanted and (found := differences(wanted, declared)):
        raise ConfigError(
            f"{url}: {found[0].field} is {found[0].left} in the options, and {found[0].right} there"
        )
    width = (wanted or declared or WIDOWX).action.dim
    dim = metadata.get("action_dim")
    if isinstance(dim, int) and dim != width:
        raise ConfigError(
            f"{url} gives {dim} numbers, not {width}: declare its contract in the options"
        )
    known = metadata.get("available_unnorm_keys")
    if isinstance(known, list | tuple) and options.unnorm_key and options.unnorm_key not in known:
        valid = ", ".join(str(k) for k in known)
        raise ConfigError(f"{url} has no unnorm_key '{options.unnorm_key}'; valid: {valid}")


def _side(metadata: Mapping[str, Any]) -> int:
    """Side of the images that a server wants; 0 for images as they are."""
    wanted = metadata.get("image_resolution", (OPENPI_PIXELS, OPENPI_PIXELS))
    sides = wanted if isinstance(wanted, list | tuple) else ()
    return int(max(sides)) if sides and all(isinstance(n, int | np.integer) for n in sides) else 0
