"""Tiny networks and images with random entries, in the default float type of the moment."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.evaluation import lpips
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.networks import adjuster, stylization_network, vgg
from metastyle_jax.networks.feature_network import FeatureNetwork

# of the convolutions of AlexNet
ALEXNET_WIDTHS = (64, 192, 384, 256, 256)
ALEXNET_SIZES = (11, 5, 3, 3, 3)


def parameter_shapes(**sizes: int) -> stylization_network.Params:
    """Shapes and dtypes of `stylization_network.init`, without running it."""
    return jax.eval_shape(lambda key: stylization_network.init(key, **sizes), jax.random.key(0))


def parameters(
    seed: int = 0, *, width: int = 4, residual_blocks: int = 1, blur: bool = False
) -> stylization_network.Params:
    """Every entry random, the style's too, so that no term can vanish from a test."""
    random = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        values = random.standard_normal(leaf.shape)
        match path[-1].key:
            case "kernel":
                values /= np.sqrt(np.prod(leaf.shape[:-1]))
            case "scale":
                values = 1 + 0.3 * values
            case _:
                values *= 0.2
        return jnp.asarray(values)

    shapes = parameter_shapes(width=width, residual_blocks=residual_blocks, blur=blur)
    return jax.tree_util.tree_map_with_path(draw, shapes)


def meta_parameters(seed: int = 0, **sizes: Any) -> MetaParameters:
    """`parameters`, as training moves them."""
    return MetaParameters(**parameters(seed, **sizes))


def adjustable_parameters(inputs: int = 2) -> dict[str, Any]:
    """`parameters` with an adjuster of `inputs` style layers, as a file of them has: float32."""
    params = parameters()
    network = adjuster.init(jax.random.key(0), params["style"], inputs=inputs, hidden=4, layers=1)
    network = jax.tree.map(lambda x, d: x + 0.3 * d, network, like(network))
    return jax.tree.map(lambda x: np.asarray(x, np.float32), {**params, "adjuster": network})


def batch(styles: int = 2, contents: int = 1, height: int = 16, width: int = 16) -> Batch:
    """Other images for each of the three parts."""
    return Batch(
        styles=images(styles, height, width, seed=1),
        support=images(contents, height, width, seed=2),
        query=images(contents, height, width, seed=3),
    )


def feature_network(
    layers: tuple[str, ...],
    *,
    architecture: str = "compact",
    pooling: vgg.Pooling = "max",
    dtype: Any = None,
) -> FeatureNetwork:
    """A network with random weights, see `feature_weights`, of `dtype` if given."""
    weights = feature_weights(layers, architecture=architecture)
    if dtype is not None:
        weights = jax.tree.map(lambda x: np.asarray(x, dtype), weights)
    return FeatureNetwork("tiny", architecture, pooling, weights)


def feature_weights(
    layers: tuple[str, ...], *, architecture: str = "compact", seed: int = 0
) -> dict[str, dict[str, jax.Array]]:
    """Random weights of a feature network down to the deepest of `layers`, with their heads."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in vgg.kernel_shapes(architecture, layers).items():
        kernel = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
        bias = 0.1 * random.standard_normal(shape[-1])
        weights[name] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    return weights


def lpips_weights(name: str) -> lpips.Weights:
    """Random weights for "alexnet" or "vgg16", see `lpips.load`; float32."""
    random = np.random.default_rng(0)
    widths = ALEXNET_WIDTHS if name == "alexnet" else (64, 128, 256, 512, 512)
    heads = {
        f"head{i}": random.uniform(size=width).astype(np.float32)
        for i, width in enumerate(widths, start=1)
    }
    if name == "vgg16":
        weights = feature_weights(lpips.VGG_TAPS, architecture="vgg16")
        return {
            "network": jax.tree.map(lambda x: np.asarray(x, np.float32), weights),
            "heads": heads,
        }
    network, into = {}, 3
    for number, (width, size) in enumerate(zip(widths, ALEXNET_SIZES, strict=True), start=1):
        kernel = random.standard_normal((size, size, into, width)) * (2 / (into * size**2)) ** 0.5
        network[f"conv{number}.kernel"] = kernel.astype(np.float32)
        network[f"conv{number}.bias"] = (0.1 * random.standard_normal(width)).astype(np.float32)
        into = width
    return {"network": network, "heads": heads}


def images(count: int, height: int, width: int, *, seed: int = 0) -> jax.Array:
    """(count, height, width, 3), uniform in [0, 1]."""
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(count, height, width, 3)))


def like(tree: Any, seed: int = 0) -> Any:
    """Standard normal numbers in the shape of `tree`."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(random.standard_normal(np.shape(leaf))), tree)
