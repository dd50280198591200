"""How programs run: compilation, devices, interruption, progress, the log of a run."""

__all__ = [
    "compilation",
    "compilation_cache",
    "interrupts",
    "out_of_memory",
    "progress",
    "run_log",
    "sharding",
    "training_loop",
]
