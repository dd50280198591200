"""Measures of pictures, and the comparison of methods by them."""
