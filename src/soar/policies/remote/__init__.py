"""Policies that other programs serve."""
