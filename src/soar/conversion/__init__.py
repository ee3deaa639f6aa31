"""Weights that the papers' authors released, converted to checkpoints of this package."""
