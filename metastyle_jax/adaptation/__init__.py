"""Adaptation of a network to one style."""

__all__ = ["from_pictures", "service", "style_adaptation"]
