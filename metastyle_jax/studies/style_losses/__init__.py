"""Style losses compared by the pictures that minimize them."""

__all__ = ["study_pictures", "style_loss_settings", "style_loss_study"]
