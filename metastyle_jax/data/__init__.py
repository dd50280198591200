"""Images: decoding, folders, data sets, random crops, and procedural pictures."""

__all__ = [
    "decoding",
    "folder",
    "input_files",
    "images",
    "in_memory",
    "pipeline",
    "resizing",
    "sources",
]
