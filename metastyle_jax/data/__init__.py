"""Images: decoding, folders, data sets, random crops, and procedural pictures."""

__all__ = [
    "decoding",
    "device_cache",
    "folder",
    "images",
    "in_memory",
    "input_files",
    "picture_writer",
    "pipeline",
    "record_writer",
    "resizing",
    "sent_pictures",
    "sources",
]
