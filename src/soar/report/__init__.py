"""What happened, as figures, videos and one HTML page."""
