"""Meta-training: the loop, the program that it runs, the memory that it needs."""
