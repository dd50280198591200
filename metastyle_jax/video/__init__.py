"""Films: frames in, stylized frames out, with sound and time kept."""

__all__ = ["conversion"]
