"""Networks as pure functions: stylization, styles, features, convolutions."""

__all__ = [
    "adjuster",
    "feature_network",
    "input_noise",
    "predictor",
    "stylization_network",
    "tile_network",
    "vgg",
]
