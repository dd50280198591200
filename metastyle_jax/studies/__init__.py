"""Studies: each takes measurements, keeps them in a file, and draws figures from them."""

__all__ = ["adjustable", "features", "meta_gradients", "style_losses"]
