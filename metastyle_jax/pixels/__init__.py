"""Optimisation of the pixels of a picture (Gatys et al. 2016)."""
