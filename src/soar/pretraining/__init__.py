"""Training data and weights made with access to the simulator's ground truth."""
