"""Adaptation of a network to one style."""

__all__ = ["style_adaptation"]
