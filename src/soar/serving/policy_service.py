"""A served policy: its follower, its batches, and the sessions of its clients, whatever protocol they speak."""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from soar import __version__
from soar.errors import ConfigError
from soar.serving.batching import Batcher
from soar.serving.follower import ActReply, ActRequest, Follower, Session
from soar.utils.config import to_plain

_MOST_SESSIONS = 1000
"""Most sessions of HTTP clients that are remembered; the one unused longest is forgotten."""
_IDLE_S = 30.0
"""Time after an HTTP client's last reply [s] from which another client may have a policy that can't be shared."""


class PolicyService:
    """What the routes of all protocols share."""

    def __init__(
        self, follower: Follower, wait_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare.

        Args:
            follower: the policy and its subgoals.
            wait_s: longest wait of a request for those of other clients.
            now: clock.
        """
        self.follower = follower
        self.batcher: Batcher[ActRequest, ActReply] = Batcher(follower.run, wait_s)
        self._now = now
        self._numbers = itertools.count()
        self._http: OrderedDict[str, Session] = OrderedDict()
        self._owner: int | str | None = None
        """Whose a policy is that can't be shared: a connection's number or an HTTP client's name."""
        self._running = 0
        """Requests of an HTTP owner that aren't answered yet."""
        self._used_s = 0.0
        """Time of its last answer."""

    @contextmanager
    def connection(self) -> Iterator[int]:
        """Count a connection, and give it a number.

        Raises:
            ConfigError: another client has the policy, and it can't be shared.
        """
        number = next(self._numbers)
        self._own(number)
        try:
            with self.batcher.client():
                yield number
        finally:
            self._owner = None

    def begin_episode(self, session: Session) -> None:
        """Let a session's next request begin an episode, also while another one of its requests runs."""
        session.begins = True

    async def act(self, requests: Sequence[ActRequest], order: int) -> list[ActReply]:
        """Return the replies to requests of one client. Raises SoarError."""
        marked = [r._replace(reset=r.reset or r.session.begins) for r in requests]
        for request in requests:
            request.session.begins = False
        return await self.batcher.submit(marked, order)

    async def act_once(self, name: str, request: ActRequest) -> ActReply:
        """Return the reply to a request over HTTP.

        Args:
            name: the client's name or address.
            request: its request, in its `http_session`.

        Raises:
            SoarError: the request failed.
            ConfigError: another client has the policy, and it can't be shared.
        """
        if self._own(name):
            self.begin_episode(request.session)
        self._running += 1
        try:
            with self.batcher.client():
                return (await self.act([request], request.session.number))[0]
        finally:
            self._running -= 1
            self._used_s = self._now()

    def http_session(self, name: str) -> Session:
        """Return the session of an HTTP client by its name or address."""
        if name not in self._http:
            self._http[name] = Session(next(self._numbers))
        self._http.move_to_end(name)
        while len(self._http) > _MOST_SESSIONS:
            self._http.popitem(last=False)
        return self._http[name]

    def _own(self, client: int | str) -> bool:
        """Give a policy that can't be shared to a client; return whether it is new to it. Raises ConfigError."""
        if self.follower.is_shared or client == self._owner:
            return False
        is_idle = not self._running and self._now() - self._used_s > _IDLE_S
        if isinstance(self._owner, int) or (self._owner is not None and not is_idle):
            raise ConfigError(
                f"policy {self.follower.policy.name} serves one client at a time, as it has no `commit` to set "
                "its state: "
                f"wait until the other one has disconnected, or sends nothing over HTTP for {_IDLE_S:g} s"
            )
        self._owner = client
        return True

    def metadata(self) -> dict[str, Any]:
        """Describe the policy, with the names that openpi's, RoboArena's and starVLA's clients look for."""
        policy, contract = self.follower.policy, self.follower.contract
        end_effector = contract.action.space == "end_effector"
        wrists = [name for name in contract.camera_names if "wrist" in name]
        return {
            "name": policy.name,
            "checkpoint": str(getattr(policy, "checkpoint_id", "")),
            "server": f"soar {__version__}",
            "action_dim": contract.action.dim,
            "action_horizon": self.follower.horizon,
            "action_chunk_size": self.follower.horizon,
            "action_space": f"cartesian_{contract.action.reference}" if end_effector else "joints",
            "image_resolution": None,
            "n_external_cameras": len(contract.cameras) - len(wrists),
            "needs_wrist_camera": bool(wrists),
            "needs_stereo_camera": False,
            "needs_session_id": False,
            "soar": {
                "contract": to_plain(contract),
                "subgoals": getattr(self.follower.subgoals, "name", "none"),
            },
        }
