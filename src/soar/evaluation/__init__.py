"""Success rates with confidence intervals, on initial states that all checkpoints share."""
