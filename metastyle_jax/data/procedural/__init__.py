"""Procedural pictures, for training without data."""

__all__: list[str] = []
