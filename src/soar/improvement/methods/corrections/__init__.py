"""Relabeling of own episodes, failures included, by a scripted pick-and-place plan."""
