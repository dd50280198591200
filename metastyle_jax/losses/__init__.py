"""Style distances, sums of them, and the perceptual objective: pure functions of features."""

__all__ = ["fusion", "perceptual", "style_losses"]
