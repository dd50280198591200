"""Adaptation of a network to one style."""

__all__ = [
    "convolution_timing",
    "from_pictures",
    "service",
    "starting_style",
    "style_adaptation",
]
