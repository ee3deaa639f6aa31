"""Robots that a station can drive, and the safety wrapper around them."""
