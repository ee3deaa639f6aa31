"""LeRobot data sets of format v3.0."""
