"""Success rates with intervals, on starts that every checkpoint shares."""
