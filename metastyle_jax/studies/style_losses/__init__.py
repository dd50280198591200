"""Style losses compared by the pictures that minimize them."""

__all__ = ["painting", "style_loss_study"]
