"""How programs run: compilation, devices, interruption, progress, the log of a run."""
