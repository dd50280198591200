"""Networks as pure functions: stylization, styles, features, convolutions."""

__all__ = [
    "adjuster",
    "convolution_forms",
    "feature_network",
    "input_noise",
    "one_tile_network",
    "predictor",
    "style_noise",
    "stylization_network",
    "tile_network",
    "vgg",
]
