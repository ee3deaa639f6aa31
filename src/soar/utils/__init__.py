"""General helpers, independent of robots and models."""
