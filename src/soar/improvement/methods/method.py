AUTONOMOUS_SHARE = 0.3
"""Share of own episodes in a co-training mixture, as measured in docs/log.md; the rest are demonstrations."""
