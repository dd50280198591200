"""Files: atomic writes, digests, safetensors, checkpoints, style files, folder locks."""

__all__ = [
    "atomic",
    "cache_folder",
    "checkpoint",
    "checkpoint_reading",
    "digest",
    "folder_lock",
    "home_folder",
    "initialization",
    "orbax_files",
    "overwriting",
    "quantization",
    "safetensors_file",
    "style_file",
    "style_packs",
    "unicode_text",
]
