"""Experiments: each measures, keeps its records, and draws its figures."""
