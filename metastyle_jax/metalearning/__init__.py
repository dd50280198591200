"""Styles as tasks: the inner loop of many styles, the outer loss, the outer step; all pure."""
