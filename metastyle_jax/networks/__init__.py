"""Networks as pure functions: the stylization network, the predictor, VGG and convolutions."""

__all__ = [
    "feature_network",
    "input_noise",
    "predictor",
    "stylization_network",
    "tile_network",
    "vgg",
]
