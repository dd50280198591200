"""Losses of style transfer, each per image so that the styles of a batch stay apart.

A style loss compares two distributions of feature columns, the C numbers at each position. Most are
a maximum mean discrepancy (MMD) under some kernel ("Demystifying Neural Style Transfer", Li et al.
2017):

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y)

over positions x of one image and y of the other. Means, not sums: the losses do not depend on how
many positions there are, and a style image may have another size than the content.

A `StyleLoss` is a handful of functions: `statistics` summarizes features, `distance` compares two
summaries. What a style image contributes is thus computed once and only its statistics are kept.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# keeps bandwidths finite where two images are one constant
TINY = 1e-8
# within the root of a standard deviation, whose slope is infinite at zero
VARIANCE_EPSILON = 1e-5


def _itself(statistics: Any) -> Any:
    return statistics


def total_of(losses: Iterable[jax.Array]) -> jax.Array:
    """The sum of one or more arrays; `sum` would add them to a number."""
    return functools.reduce(operator.add, losses)


class StyleLoss(NamedTuple):
    """How style is measured at one layer. Hashable.

    Attributes:
      name: as `fusion.parse` reads it.
      statistics: features (N, H, W, C) -> pytree of per-image statistics, leaves (N, ...), at
        least float32.
      distance: (statistics, target, key) -> (N,), zero where they agree; the key may be left out
        unless `random`.
      magnitude: statistics -> (N,), what `distance` is from an image without features (bounded
        losses: 1); `fusion.relative` divides by it.
      target: statistics of the style -> what `distance` compares with.
      random: whether `distance` is an estimate that draws positions or directions from its key.
      parts: of a `fusion.fuse`, (weight, loss) each.
    """

    name: str
    statistics: Callable[[jax.Array], Any]
    distance: Callable[..., jax.Array]
    magnitude: Callable[[Any], jax.Array]
    target: Callable[[Any], Any] = _itself
    random: bool = False
    parts: tuple[tuple[float, StyleLoss], ...] = ()


def columns(features: jax.Array) -> jax.Array:
    """The distribution itself: (N, H, W, C) -> (N, H * W, C), at least float32."""
    n, h, w, c = features.shape
    return features.reshape(n, h * w, c).astype(np.promote_types(features.dtype, np.float32))


def mean_square(x: jax.Array) -> jax.Array:
    """Mean of squares of each sample; (N, ...) -> (N,)."""
    return jnp.square(x).mean(axis=tuple(range(1, x.ndim)))


def mean_squared_error(x: jax.Array, target: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Mean squared difference of each sample; (N, ...), (N, ...) -> (N,)."""
    del key
    return mean_square(x - target)


def gram_matrix(features: jax.Array) -> jax.Array:
    """Gram matrices psi(x) psi(x)^T / (C H W) (Johnson et al. 2016, eq. 3).

    Args:
      features: (N, H, W, C).

    Returns:
      (N, C, C), at least float32.
    """
    x = columns(features)
    product = jnp.einsum("npc,npd->ncd", x, x, precision=jax.lax.Precision.HIGHEST)
    return product / (x.shape[1] * x.shape[2])


gram = StyleLoss("gram", gram_matrix, mean_squared_error, mean_square)


def channel_means(features: jax.Array) -> jax.Array:
    """(N, H, W, C) -> (N, C), at least float32."""
    return columns(features).mean(axis=1)


# MMD with k(x, y) = x . y / C: the distance of the means (Li et al. 2017)
linear = StyleLoss("linear", channel_means, mean_squared_error, mean_square)


@functools.cache
def poly(constant: float = 0.0) -> StyleLoss:
    """MMD with k(x, y) = (x . y / C + constant)^2, over all pairs of positions.

    With constant 0 this is C^2 times the distance of Gram matrices; the constant adds
    2 constant / C ||mean x - mean y||^2 (Li et al. 2017).

    Raises:
      ValueError: the constant is negative, which would reward different means.
    """
    if not 0 <= constant < math.inf:
        raise ValueError(f"the constant of poly is {constant:g}: use a finite number, 0 or more")

    def statistics(features: jax.Array) -> dict[str, jax.Array]:
        second = {"second": gram_matrix(features)}
        return {**second, "mean": channel_means(features)} if constant else second

    def squared_norm(moments: dict[str, jax.Array]) -> jax.Array:
        norm = jnp.square(moments["second"]).sum(axis=(1, 2))
        return norm + 2 * constant * mean_square(moments["mean"]) if constant else norm

    def distance(x: Any, target: Any, key: jax.Array | None = None) -> jax.Array:
        del key
        return squared_norm(jax.tree.map(jnp.subtract, x, target))

    return StyleLoss(f"poly({constant})", statistics, distance, squared_norm)


def means_and_deviations(features: jax.Array) -> jax.Array:
    """Mean and standard deviation of each channel, two-pass; (N, H, W, C) -> (N, 2, C)."""
    x = columns(features)
    mean = x.mean(axis=1)
    variance = jnp.square(x - mean[:, None]).mean(axis=1)
    return jnp.stack([mean, jnp.sqrt(variance + VARIANCE_EPSILON)], axis=1)


def _twice_mean_squared_error(x: jax.Array, target: jax.Array, key: Any = None) -> jax.Array:
    return 2 * mean_squared_error(x, target, key)


# 1/C sum over channels of (mu_x - mu_y)^2 + (sigma_x - sigma_y)^2 (Li et al. 2017)
bn = StyleLoss(
    "bn", means_and_deviations, _twice_mean_squared_error, lambda target: 2 * mean_square(target)
)


@functools.cache
def gaussian(*factors: float) -> StyleLoss:
    """MMD with a Gaussian kernel, the unbiased estimate that is linear in the number of positions.

    k(x, y) = exp(-||x - y||^2 / b), where b is a factor times the mean squared distance of two
    positions of the two images pooled, a constant in the gradient. The positions of each image are
    shuffled and paired, and k(x0, x1) + k(y0, y1) - k(x0, y1) - k(y0, x1) is averaged over pairs
    of pairs (Gretton et al. 2012, section 6; Li et al. 2017). Zero on average for two
    samples of one distribution, at most 2.

    Args:
      factors: one or more; the kernel is the mean over them. Without any, 1.

    Raises:
      ValueError: a factor is not positive.
    """
    factors = factors or (1.0,)
    for factor in factors:
        if not 0 < factor < math.inf:
            raise ValueError(f"a bandwidth factor of gaussian is {factor:g}: use positive ones")

    def distance(x: jax.Array, target: jax.Array, key: jax.Array | None = None) -> jax.Array:
        if key is None:
            raise ValueError("the gaussian loss draws positions: it needs a key")
        spread = jax.lax.stop_gradient(mean_squared_distance(x, target))
        x0, x1, y0, y1 = _shuffled_pairs(x, target, key)

        def kernel(a: jax.Array, b: jax.Array) -> jax.Array:
            squared = jnp.square(a - b).sum(axis=-1) / jnp.maximum(spread, TINY)[:, None]
            return total_of(jnp.exp(-squared / factor) for factor in factors) / len(factors)

        return (kernel(x0, x1) + kernel(y0, y1) - kernel(x0, y1) - kernel(y0, x1)).mean(axis=1)

    name = f"gaussian({', '.join(map(str, factors))})"
    return StyleLoss(name, columns, distance, _one_each, random=True)


def _one_each(target: jax.Array) -> jax.Array:
    return jnp.ones_like(target[:, 0, 0])


def mean_squared_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """Of two positions drawn from either image with equal odds; (N, P, C), (N, Q, C) -> (N,).

    Twice the total variance of the mixture of both, hence linear in the number of positions.
    """
    center = (x.mean(axis=1) + y.mean(axis=1)) / 2
    spreads = [jnp.square(z - center[:, None]).sum(axis=-1).mean(axis=1) for z in (x, y)]
    return total_of(spreads)


def _shuffled_pairs(x: jax.Array, y: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
    """Even and odd positions of both images, each shuffled on its own and cut to one length."""
    pairs = min(x.shape[1], y.shape[1]) // 2
    if not pairs:  # a single position is paired with itself
        return x[:, :1], x[:, :1], y[:, :1], y[:, :1]
    halves = []
    for z, image_key in zip((x, y), jax.random.split(key), strict=True):
        order = jax.random.permutation(image_key, z.shape[1])
        for chosen in (order[:pairs], order[pairs : 2 * pairs]):
            halves.append(z.at[:, chosen].get(unique_indices=True, mode="promise_in_bounds"))
    return tuple(halves)


@functools.cache
def sliced_wasserstein(directions: int = 32) -> StyleLoss:
    """Mean squared 2-Wasserstein distance of projections on random directions (Heitz et al. 2021).

    Sorted projections are compared at equal quantiles, so that images may differ in size.

    Raises:
      ValueError: no direction.
    """
    if directions < 1 or directions % 1:
        raise ValueError(f"sliced_wasserstein has {directions:g} directions: use 1 or more")

    def distance(x: jax.Array, target: jax.Array, key: jax.Array | None = None) -> jax.Array:
        if key is None:
            raise ValueError("the sliced_wasserstein loss draws directions: it needs a key")
        normal = jax.random.normal(key, (x.shape[-1], int(directions)), x.dtype)
        unit = normal / jnp.linalg.norm(normal, axis=0, keepdims=True)
        ours, theirs = (jnp.sort(z @ unit, axis=1) for z in (x, target))
        return mean_square(ours - _at_quantiles(theirs, ours.shape[1]))

    name = f"sliced_wasserstein({directions})"
    return StyleLoss(name, columns, distance, mean_square, random=True)


def _at_quantiles(ordered: jax.Array, count: int) -> jax.Array:
    """(N, P, K) sorted along P, read at the quantiles of `count` positions: (N, count, K)."""
    if ordered.shape[1] == count:
        return ordered
    at = (np.arange(count) + 0.5) / count * ordered.shape[1] - 0.5
    at = np.clip(at, 0, ordered.shape[1] - 1)
    below = np.floor(at).astype(int)
    above = np.minimum(below + 1, ordered.shape[1] - 1)
    share = jnp.asarray((at - below)[None, :, None], ordered.dtype)
    return (1 - share) * ordered[:, below] + share * ordered[:, above]


def content_loss(features: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared feature difference (Johnson et al. 2016, eq. 2); (N, H, W, C) -> (N,)."""
    return mean_squared_error(features, target)


def total_variation(images: jax.Array) -> jax.Array:
    """Mean squared difference of horizontal and of vertical neighbors; (N, H, W, C) -> (N,)."""
    return mean_square(images[:, 1:] - images[:, :-1]) + mean_square(
        images[:, :, 1:] - images[:, :, :-1]
    )
