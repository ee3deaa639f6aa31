"""Checks of a station, its models and its machine before a run."""
