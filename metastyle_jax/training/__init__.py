"""Meta-training: the loop, the program that it runs, the memory that it needs."""

__all__ = [
    "compile_report",
    "memory_plan",
    "meta_training",
    "plan_report",
    "program",
    "step_memory",
    "training_pictures",
]
