"""What a process that reads files needs, loaded before it is forked. Nothing of Lance is used here."""

import benchmarks.attack.files  # noqa: F401

from soar.nn.text import SentenceEncoder

SentenceEncoder()
