"""Quality of generated subgoals, measured against a scripted expert's frames."""
