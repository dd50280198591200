"""Adaptation of a network to one style."""

__all__ = ["service", "style_adaptation"]
