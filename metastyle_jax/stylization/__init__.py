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
    "small_pictures",
    "stylizer",
    "thumbnails",
    "tiled_picture",
    "tiling",
    "variations",
]
