"""Adaptation of a network to one style."""

__all__ = ["from_pictures", "service", "starting_style", "style_adaptation"]
