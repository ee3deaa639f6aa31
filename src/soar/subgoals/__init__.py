"""Imagination: models that draw what the scene should look like a little later."""
