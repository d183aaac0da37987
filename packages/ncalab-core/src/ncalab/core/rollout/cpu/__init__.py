"""The engines of the CPU."""
