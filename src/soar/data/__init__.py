"""Episodes at rest and on their way into training."""
