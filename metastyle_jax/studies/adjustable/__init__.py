"""How well the weights of layers steer an adjustable network."""

__all__ = ["slider_study"]
