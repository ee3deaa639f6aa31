"""Success detectors that see whole episodes: reward models of others behind HTTP."""
