"""A manifest in, a checkpoint and its receipt out. torch and accelerate live only here; nobody imports this package."""
