"""Rounds of autonomous improvement: evaluate, collect, learn, evaluate, promote."""
