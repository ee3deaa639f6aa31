"""Success detectors that see whole episodes: third-party reward models behind HTTP."""
