"""Stylizing pictures and files."""

__all__ = ["batch_run", "loading", "picture_files", "stylizer"]
