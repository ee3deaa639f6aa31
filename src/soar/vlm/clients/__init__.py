"""Clients of vision-language models behind HTTP endpoints or in transformers format."""
