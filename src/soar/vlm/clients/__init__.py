"""Vision-language models behind HTTP endpoints or in transformers format."""
