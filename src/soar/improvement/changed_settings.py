"""Comparison of a run's settings with those that it was begun with."""

from __future__ import annotations

from collections.abc import Mapping

from soar.utils.config import flat
from soar.utils.files import Json

_FREE = ("workers", "stations")
"""Settings that may differ when a run goes on: they say how it is done, not what."""
_MOVED = {
    "outcomes": "hindsight.outcomes",
    "goals": "hindsight.goals",
    "sum_steps": "hindsight.sum_steps",
    "pace_m": "hindsight.min_motion_m",
    "imagined_goals": "hindsight.recorded_goals",
    "autonomous_share": "fit.autonomous_share",
    "from_scratch": "fit.from_scratch",
}
"""Settings of version 0.1, and where they are now."""


def changed_settings(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[str]:
    """Return the names of the settings that differ between two configurations, among those that both have."""
    before = {_MOVED.get(name, name): value for name, value in old.items()}
    flat_before, flat_after = flat(before), flat(new)
    return [
        name
        for name, value in flat_after.items()
        if name.split(".")[0] not in _FREE and flat_before.get(name, value) != value
    ]
