"""Styles over HTTP: a picture in, a stylized picture out. Needs the extra `serve`."""

__all__ = ["application", "connections", "drawing_queue", "gathering", "requests"]
