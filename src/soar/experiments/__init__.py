"""Complete experiments in simulation: the demonstration and the paper's figures."""
