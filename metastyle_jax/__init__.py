"""Neural style transfer as bilevel optimisation, in JAX and Flax."""

__version__ = "0.1.0"
