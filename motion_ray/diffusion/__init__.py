"""Timestep densities, training targets and the denoising loop."""
