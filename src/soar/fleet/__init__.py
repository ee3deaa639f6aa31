"""Fleets: many stations of one file, on one machine or, with Ray, on many."""
