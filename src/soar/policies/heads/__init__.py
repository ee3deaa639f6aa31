"""Action heads of policies."""
