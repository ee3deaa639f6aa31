"""Reports: figures, videos and one HTML page."""
