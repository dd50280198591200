"""Adaptation of a network to one style."""
