"""Training of the distilled feature network."""

__all__ = ["distillation"]
