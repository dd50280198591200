"""Running programs: compilation, devices, the training loop, interruption, progress, run logs."""

__all__ = [
    "collectives",
    "compilation",
    "compilation_cache",
    "finite_watch",
    "huge_pages",
    "in_turns",
    "input_watch",
    "interrupts",
    "kept_forms",
    "out_of_memory",
    "processes",
    "profiling",
    "progress",
    "run_log",
    "sharding",
    "topology",
    "training_loop",
]
