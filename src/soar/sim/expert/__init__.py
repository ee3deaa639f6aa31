"""A scripted expert that reads the simulator's ground truth."""
