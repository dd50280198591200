"""What a configuration may hold, and the values that it stands for."""

__all__ = ["configuration", "construction", "provenance", "ranges", "resuming", "schema"]
