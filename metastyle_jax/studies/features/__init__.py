"""Feature networks compared: how well they tell artworks apart, and what they draw."""

__all__ = ["feature_drawings", "feature_networks"]
