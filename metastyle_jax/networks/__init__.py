"""Networks as pure functions: the stylization network, the predictor, VGG and convolutions."""
