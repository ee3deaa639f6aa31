"""Autonomous collection: stations that propose, act and judge for days without a person."""
