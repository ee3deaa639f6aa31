"""Episodes in storage, and the batches that training reads from them."""
