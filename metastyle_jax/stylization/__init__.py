"""Stylizing pictures and files."""

__all__ = [
    "batch_run",
    "blending",
    "interpolation",
    "loading",
    "options",
    "picture_files",
    "sliders",
    "stylizer",
    "tiling",
]
