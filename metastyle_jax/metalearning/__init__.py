"""Styles as tasks: the inner loop of many styles, the outer loss, the outer step; all pure."""

__all__ = ["outer_loss", "outer_step", "style_tasks", "subsets"]
