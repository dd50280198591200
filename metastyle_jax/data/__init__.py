"""Images: decoding, folders, data sets, random crops, and procedural pictures."""

__all__ = ["decoding", "folder", "given", "images", "in_memory", "pipeline", "resizing", "sources"]
