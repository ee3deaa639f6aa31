"""Processes, servers, robots and files that the attacks use."""
