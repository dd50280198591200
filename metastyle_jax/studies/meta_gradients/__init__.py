"""Meta-gradient estimators: cost, bias, curvature, training."""
