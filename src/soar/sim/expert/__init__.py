"""Scripted expert."""
