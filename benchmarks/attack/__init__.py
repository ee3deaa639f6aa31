"""Attacks on what soar promises, with fixed seeds: `make attack`, or `python -m benchmarks.attack --help`."""
