"""Data sets of other formats: LeRobot, RLDS, and raw logs of SOAR's and BridgeData's robots."""
