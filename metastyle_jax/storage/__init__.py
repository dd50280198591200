"""Files: atomic writes, digests, safetensors, checkpoints, style files, locks."""

__all__ = [
    "atomic",
    "cache_folder",
    "checkpoint",
    "digest",
    "folder_lock",
    "initialization",
    "overwriting",
    "safetensors_file",
    "style_file",
    "style_packs",
]
