"""A served policy: its follower, its batches, and the sessions of its clients, whatever protocol they speak."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from soar import __version__
from soar.errors import ConfigError
from soar.serving.batching import Batcher
from soar.serving.follower import ActReply, ActRequest, Follower, Session
from soar.utils.config import to_plain

_MOST_SESSIONS = 1000
"""Most sessions of HTTP clients that are remembered; the one unused longest is forgotten."""


class PolicyService:
    """What the routes of all protocols share."""

    def __init__(self, follower: Follower, wait_s: float) -> None:
        """`wait_s`: longest wait of a request for those of other clients."""
        self.follower = follower
        self.batcher: Batcher[ActRequest, ActReply] = Batcher(follower.run, wait_s)
        self._numbers = itertools.count()
        self._connections = 0
        self._http: OrderedDict[str, Session] = OrderedDict()

    @contextmanager
    def connection(self) -> Iterator[int]:
        """Count a connection, and give it a number.

        Raises:
            ConfigError: another client is connected, and the policy can't be shared.
        """
        shared = self.follower.is_shared
        if not shared and (self._connections or self._http):
            raise ConfigError(
                f"policy {self.follower.policy.name} serves one client at a time: it has no `commit` to set its state"
            )
        if not shared:
            self.follower.policy.reset()
        self._connections += 1
        try:
            with self.batcher.client():
                yield next(self._numbers)
        finally:
            self._connections -= 1

    async def act(self, requests: Sequence[ActRequest], order: int) -> list[ActReply]:
        """Return the replies to requests of one client. Raises SoarError."""
        return await self.batcher.submit(requests, order)

    async def act_once(self, request: ActRequest) -> ActReply:
        """Return the reply to a request over HTTP. Raises SoarError."""
        with self.batcher.client():
            return (await self.batcher.submit([request], request.session.number))[0]

    def http_session(self, name: str) -> Session:
        """Return the session of an HTTP client by its name or address.

        A policy that can't be shared has one at a time: that of another client ends.
        """
        if name not in self._http:
            if not self.follower.is_shared:
                self._http.clear()
                self.follower.policy.reset()
            self._http[name] = Session(next(self._numbers))
        self._http.move_to_end(name)
        while len(self._http) > _MOST_SESSIONS:
            self._http.popitem(last=False)
        return self._http[name]

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
