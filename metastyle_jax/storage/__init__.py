"""Files: atomic writes, digests, safetensors, checkpoints, style files, locks."""
