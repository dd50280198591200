"""Stylizing pictures and files."""
