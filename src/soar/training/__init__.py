"""The optimization loop and the training of each model."""
