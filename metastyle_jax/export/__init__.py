"""Stylizers as files for other programs, each compared with this package before it is kept."""

__all__ = ["comparison", "exporting", "web_page", "web_runtime"]
