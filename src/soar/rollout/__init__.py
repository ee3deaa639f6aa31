"""One episode on one or many robots: the control loop, its configuration and its callbacks."""
