"""Running programs: compilation, devices, the training loop, interruption, progress, run logs."""

__all__ = [
    "collectives",
    "compilation",
    "compilation_cache",
    "huge_pages",
    "input_watch",
    "interrupts",
    "out_of_memory",
    "processes",
    "profiling",
    "progress",
    "run_log",
    "sharding",
    "topology",
    "training_loop",
]
