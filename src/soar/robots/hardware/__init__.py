"""Drivers of real hardware, and what drivers share."""
