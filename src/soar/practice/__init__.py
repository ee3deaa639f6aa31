"""Practice: what a robot's own episodes teach its imagination about its own camera and scene."""
