"""Meta-gradient estimators compared: cost, bias, curvature, training."""

__all__ = ["measurement_point", "meta_gradient_study"]
