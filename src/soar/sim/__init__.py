"""The simulated WidowX world: arm, things, scenes, success predicates, scripted expert."""
