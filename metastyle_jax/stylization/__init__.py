"""Stylizing pictures and files."""

__all__ = ["batch_run", "picture_files"]
