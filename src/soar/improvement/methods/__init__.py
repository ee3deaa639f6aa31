"""Methods of improvement: each is one way to learn from a robot's own episodes."""
