"""The stylization network for pictures of different sizes, each in a tile of one size.

Chains the programs of `tile_network`. Where the borders of a picture lie in its tile is data, so
pictures of different sizes and in different styles are one batch of one program.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from metastyle_jax.networks import stylization_network, tile_network
from metastyle_jax.networks.tile_network import Frame, Moments, Norm


def stylize(
    weights: stylization_network.Weights,
    styles: stylization_network.Style,
    tiles: jax.Array,
    heights: jax.Array,
    widths: jax.Array,
) -> jax.Array:
    """Stylize N pictures of at most T x T pixels, T a multiple of 4.

    Args:
      weights: of the network.
      styles: one for each picture, leaves (N, C).
      tiles: (N, T + 12, T + 12, 3), the pictures as `tile_network.first_convolution` takes them.
      heights, widths: (N,) int32, of the pictures, multiples of 4, 16 to T.

    Returns:
      (N, T, T, 3) in [0, 1]; without sense beyond the borders of a picture.
    """

    def one(
        style: stylization_network.Style, tile: jax.Array, height: jax.Array, width: jax.Array
    ) -> jax.Array:
        frame = Frame(jnp.int32(0), jnp.int32(0), height, width)
        x = _encode(weights, style, tile[None], frame)
        for block in range(1, stylization_network.count_residual_blocks(weights) + 1):
            x = _add_residual_block(weights, style, f"residual{block}", x, frame)
        return _decode(weights, style, x, frame)[0]

    return jax.vmap(one)(styles, tiles, heights, widths)


def _encode(
    weights: stylization_network.Weights,
    style: stylization_network.Style,
    tile: jax.Array,
    frame: Frame,
) -> jax.Array:
    y = tile_network.first_convolution(weights["conv1"], tile)
    norm = _norm(style, "conv1", tile_network.first_moments(y, frame))
    y, moments = tile_network.second_convolution(weights["conv2"], norm, y, None, frame)
    norm = _norm(style, "conv2", moments)
    y = tile_network.surrounded(y, frame.at(2), 1, "reflect")[:, :-1, :-1]
    y, moments = tile_network.third_convolution(weights["conv3"], norm, y, None, frame)
    return jax.nn.relu(tile_network.normalize(y, _norm(style, "conv3", moments), None))


def _add_residual_block(
    weights: stylization_network.Weights,
    style: stylization_network.Style,
    name: str,
    x: jax.Array,
    frame: Frame,
) -> jax.Array:
    y, norm = x, None
    for layer in (f"{name}_1", f"{name}_2"):
        y = tile_network.surrounded(y, frame.at(4), 1, "reflect")
        y, moments = tile_network.residual_convolution(weights[layer], norm, y, None, frame)
        norm = _norm(style, layer, moments)
    assert norm is not None
    return tile_network.add_block(x, y, norm, None)


def _decode(
    weights: stylization_network.Weights,
    style: stylization_network.Style,
    x: jax.Array,
    frame: Frame,
) -> jax.Array:
    blurs = stylization_network.UP1[True] in weights
    layer = weights[stylization_network.UP1[blurs]]
    x = tile_network.surrounded(x, frame.at(4), 1, "edge")
    y, moments = tile_network.first_upsampling(layer, x, frame)
    norm = _norm(style, "up1", moments)
    y = tile_network.surrounded(y, frame.at(2), tile_network.HALF_HALO, "edge")
    y = tile_network.second_upsampling(weights["up2"], norm, y, None, frame, blurs=blurs)
    norm = _norm(style, "up2", tile_network.last_moments(y, frame))
    return tile_network.picture(weights["conv4"], norm, y, None, frame)


def _norm(style: stylization_network.Style, name: str, moments: Moments) -> Norm:
    leaves = style[f"{name}_norm"]
    return tile_network.known_norm(moments.mean, moments.variance, leaves["scale"], leaves["bias"])
