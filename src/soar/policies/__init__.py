"""Goal-conditioned and language-conditioned behaviour cloning, one algorithm per file."""
