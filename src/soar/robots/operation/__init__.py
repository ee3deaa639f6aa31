"""A person's say over a robot: emergency stop, heartbeat, slow start, dry run."""
