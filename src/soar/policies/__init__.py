"""Goal-conditioned and language-conditioned behavior cloning policies."""
