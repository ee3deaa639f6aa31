"""Policies behind OpenVLA's HTTP: `POST /act` with an image and an instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from soar.errors import ConfigError, ModelUnavailable
from soar.interfaces import Policy
from soar.policies.chunks import ChunkBroker
from soar.policies.remote.actions import Meaning
from soar.policies.remote.connection import key_of
from soar.policies.remote.options import OPENVLA_KEYS, Keys, RemoteOptions, pad_to
from soar.policies.remote.policy import RemotePolicy
from soar.types import Images, Observation, State
from soar.utils import http
from soar.utils.addresses import is_web_url
from soar.utils.config import from_plain
from soar.utils.wire import from_json, to_json

_FAILED = "error"
"""Answer of OpenVLA's server to a request that it can't serve, with status 200."""
_MOST_REQUESTS = 16
"""Requests to one server at a time."""


def connect_openvla(url: str, /, **options: Any) -> Policy:
    """Return a served policy.

    Args:
        url: http://HOST:PORT, whose path /act answers; "#VARIABLE" at the end names the environment variable of a key.
        options: fields of `RemoteOptions`.

    Raises:
        ConfigError: an option isn't valid.
        ModelUnavailable: the server can't be reached.
    """
    address, _, variable = url.partition("#")
    if variable:
        options = {**options, "key": variable}
    made = from_plain(RemoteOptions, options, f"options of openvla:{address}")
    if made.keys == Keys():
        made = replace(made, keys=OPENVLA_KEYS)
    policy = OpenVLAPolicy(address, made)
    return ChunkBroker(policy, made.chunk) if made.chunk > 1 else policy


class OpenVLAPolicy(RemotePolicy):
    """A client of a server without state."""

    def __init__(self, url: str, options: RemoteOptions) -> None:
        self._url = url.rstrip("/")
        if not is_web_url(self._url):
            raise ConfigError(f"'{url}' is no address; valid: http://HOST:PORT")
        meaning = Meaning(options.contract, options.present)
        super().__init__(f"openvla {self._url}", options, meaning)
        key_of(options.key)
        self._threads = ThreadPoolExecutor(_MOST_REQUESTS, "openvla")
        self._answered = False
        try:
            http.exchange(f"{self._url}/health", None, {}, 5.0)  # any status shows a server
        except http.ExchangeError as error:
            raise ModelUnavailable(f"{self._url} can't be reached: {error}") from None

    def ask(
        self,
        observations: Sequence[Observation],
        states: Sequence[State],
        goals: Images | Sequence[str],
        scales: Float[np.ndarray, " n"],
        rng: np.random.Generator,
    ) -> object:
        """See `RemotePolicy.ask`."""
        if isinstance(goals, np.ndarray):
            raise ConfigError(f"{self.name} takes instructions, not goal images: --subgoals none")
        bodies = [
            self._body(o, state, goal)
            for o, state, goal in zip(observations, states, goals, strict=True)
        ]
        answers = list(self._threads.map(self._ask, bodies))
        self._answered = True
        return answers

    def _body(self, observation: Observation, state: State, instruction: str) -> str:
        keys, side = self.options.keys, self.options.resize
        image = pad_to(observation.image, side) if side else observation.image
        values = {
            keys.image: image,
            keys.state: state,
            keys.instruction: instruction,
            "unnorm_key": self.options.unnorm_key or None,
        }
        return to_json({k: v for k, v in values.items() if k and v is not None})

    def _ask(self, body: str) -> Any:
        """The chunk of one answer, which may be a single action. Raises ModelUnavailable."""
        limit = self.options.timeout_s if self._answered else self.options.first_timeout_s
        key = key_of(self.options.key)
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        try:
            reply = http.exchange(f"{self._url}/act", body.encode(), headers, limit)
        except http.ExchangeError as error:
            raise ModelUnavailable(f"{self._url}: {error}; the limit is {limit:g} s") from None
        if reply.status != 200:
            said = http.shown(reply.body, key)
            raise ModelUnavailable(f"{self._url}: status {reply.status}: {said}")
        try:
            answer = from_json(reply.body)
            if isinstance(answer, str) and answer == _FAILED:
                raise ModelUnavailable(f"{self._url} failed; its own log says why")
            answer = from_json(answer) if isinstance(answer, str) else answer
        except ConfigError as error:
            raise ModelUnavailable(f"{self._url}: {error}") from error
        if isinstance(answer, Mapping):
            answer = answer.get("action", answer.get("actions"))
        try:
            numbers = np.asarray(answer)
        except ValueError:  # lists of several lengths, which `Meaning.actions` refuses
            return answer
        return numbers[None] if numbers.ndim == 1 else answer
