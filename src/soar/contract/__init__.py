"""Meaning of actions, states and images, its comparison and its conversion."""
