"""Feature networks: their weights, from files, packages or the hub, and their training."""

__all__ = ["cache", "matching", "package", "registry", "training"]
