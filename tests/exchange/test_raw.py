"""Raw logs: those of the paper's robots, and raw BridgeData V2."""

from __future__ import annotations
