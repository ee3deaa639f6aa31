"""Subgoal image generators."""
