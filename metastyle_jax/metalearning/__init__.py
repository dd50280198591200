"""Styles as tasks: the inner loop of many styles, the outer loss, the outer step; all pure."""

__all__ = [
    "inner_adaptation",
    "outer_loss",
    "outer_step",
    "plain_adaptation",
    "schedule",
    "structures",
    "style_tasks",
    "subsets",
    "task_gradients",
]
