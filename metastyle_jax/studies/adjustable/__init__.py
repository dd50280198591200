"""How well the weights of layers steer an adjustable network, and how much its drawings vary."""

__all__ = ["diversity_study", "slider_study"]
