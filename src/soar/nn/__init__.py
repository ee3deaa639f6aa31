"""Network building blocks that several models share."""
