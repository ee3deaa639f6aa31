"""Reports about runs and collections: figures, videos and one HTML page."""
