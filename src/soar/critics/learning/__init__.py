"""Training of critics: labels, batches, losses."""
