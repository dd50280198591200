"""Style distances, sums of them, and the perceptual objective: pure functions of features."""

__all__ = ["fusion", "moving_averages", "perceptual", "style_losses"]
