"""Styles over HTTP: a picture in, a stylized picture out. Needs the extra `serve`."""

__all__ = ["application", "drawing_queue", "gathering", "requests"]
