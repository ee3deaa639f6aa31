"""Object models: primitives, kinds, and articulated objects."""
