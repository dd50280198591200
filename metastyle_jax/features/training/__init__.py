"""Training of the compact feature network by distillation."""

__all__ = ["distillation", "teachers"]
