"""Policies by goal-conditioned and language-conditioned behavior cloning."""
