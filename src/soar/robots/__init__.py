"""What a station can drive, and the safety wrapper around it."""
