"""Feature networks: their weights, from files, packages or the hub, and their training."""

__all__ = ["lpips_package", "registry", "training", "weight_cache"]
