"""Critics: value functions learned from successes and failures, and policies that they steer."""
