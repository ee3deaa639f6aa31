"""Helpers without knowledge of robots or models."""
