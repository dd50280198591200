"""Stylizing pictures and files."""

__all__ = [
    "batch_run",
    "blending",
    "dark_spots",
    "interpolation",
    "loading",
    "options",
    "picture_files",
    "sliders",
    "stylizer",
    "thumbnails",
    "tiling",
    "variations",
]
