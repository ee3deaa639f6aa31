"""The compact subgoal generator: a pixel-space diffusion model that runs on a CPU."""
