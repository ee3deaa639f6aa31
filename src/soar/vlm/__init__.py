"""Vision-language models that answer yes/no questions about images."""
