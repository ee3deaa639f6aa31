"""Episode storage, and the training batches that are read from it."""
