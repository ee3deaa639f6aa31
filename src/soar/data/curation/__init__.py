"""Work of a data set's keeper: copying, splitting, summaries, quality, cards. Nothing here deletes an episode."""
