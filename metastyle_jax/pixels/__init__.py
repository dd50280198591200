"""Optimization of the pixels of a picture (Gatys et al. 2016)."""

__all__ = [
    "image_optimization",
    "optimization_pairs",
    "optimization_run",
    "optimization_state",
    "pixel_optimizers",
]
