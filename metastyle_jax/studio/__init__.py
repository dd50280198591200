"""A local page that shows the method: adapt, blend, paint, move sliders, keep the result."""

__all__ = ["page", "work"]
