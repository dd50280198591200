"""Meta-gradient estimators compared: cost, bias, curvature, training."""

__all__ = ["meta_gradient_study", "scene"]
