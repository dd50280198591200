"""The rewrites of slow convolutions against the direct sum, each with its derivatives: ms, ratio.

    taskset -c 0,1 python benchmarks/convolution_forms.py --size=256 --batch=1

Layers of the stylization network and of VGG-16 at the size of the picture. A derivative is the
product with a cotangent, compiled alone. Direct and rewritten take turns.

Alone, a form also waits for fresh pages for its temporary arrays, which a whole step shares: what
wins here by less memory may win nothing there. Measure the step too (roofline.py).
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.networks import convolution
from metastyle_jax.runtime import compilation, huge_pages, in_turns

Form = Callable[[jax.Array, jax.Array], jax.Array]


class Layer(NamedTuple):
    """A convolution of stride 1, and how it may be computed.

    Attributes:
      name: of the layer.
      divisor: of the picture's side.
      border: pixels that the input has beyond the output, in all.
      kernel: shape.
      direct, rewritten: the two forms.
    """

    name: str
    divisor: int
    border: int
    kernel: tuple[int, int, int, int]
    direct: Form
    rewritten: Form


def layers() -> Iterator[Layer]:
    blocked = (convolution.convolve, convolution.convolve_blocked)
    phases = (convolution.upsample_directly, convolution.upsample_in_phases)
    tiles = (convolution.convolve, convolution.convolve_quickly)
    yield Layer("conv1, 9x9 in blocks", 1, 8, (9, 9, 3, 32), *blocked)
    yield Layer("conv4, 9x9 in blocks", 1, 8, (9, 9, 32, 3), *blocked)
    yield Layer("up1, phases", 4, 2, (3, 3, 128, 64), *phases)
    yield Layer("up2, phases", 2, 2, (3, 3, 64, 32), *phases)
    yield Layer("residual, Winograd", 4, 2, (3, 3, 128, 128), *tiles)
    for block, (divisor, pairs) in enumerate(
        (
            (1, ((64, 64),)),
            (2, ((64, 128), (128, 128))),
            (4, ((128, 256), (256, 256))),
            (8, ((256, 512), (512, 512))),
        ),
        1,
    ):
        for inputs, outputs in pairs:
            name = f"VGG block {block}, {inputs} to {outputs}, Winograd"
            yield Layer(name, divisor, 2, (3, 3, inputs, outputs), *tiles)


def main() -> None:
    huge_pages.begin_again()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="of the picture, pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--match", default="", help="part of the names of layers")
    args = parser.parse_args()
    print(
        f"{platform.node()}, {len(os.sched_getaffinity(0))} cores, jax {jax.__version__}, "
        f"{args.size} px, batch {args.batch}\n"
    )
    heads = ("forward", "derivative by input", "derivative by kernel")
    print(f"| layer | {' | '.join(heads)} |\n|---|---|---|---|")
    for layer in layers():
        if args.match in layer.name:
            cells = [cell(layer, args, which) for which in range(3)]
            print(f"| {layer.name} | {' | '.join(cells)} |", flush=True)


def cell(layer: Layer, args: argparse.Namespace, which: int) -> str:
    rng = np.random.default_rng(0)
    side = args.size // layer.divisor + layer.border
    x = jnp.asarray(rng.standard_normal((args.batch, side, side, layer.kernel[2])), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal(layer.kernel), jnp.float32)
    programs = [program(form, x, kernel, which) for form in (layer.direct, layer.rewritten)]
    direct, rewritten = (1e3 * seconds for seconds in in_turns.medians(programs, args.repeat))
    return f"{direct:.1f} / {rewritten:.1f} = {direct / rewritten:.2f}"


def program(form: Form, x: jax.Array, kernel: jax.Array, which: int) -> Callable[[], object]:
    if which == 0:
        run = compilation.jit(form)
        return lambda: run(x, kernel).block_until_ready()
    given = (x, kernel)[which - 1]
    cotangent = jax.jit(form)(x, kernel)

    def derivative(cotangent: jax.Array, x: jax.Array, kernel: jax.Array) -> jax.Array:
        of = (lambda x: form(x, kernel)) if which == 1 else (lambda kernel: form(x, kernel))
        return jax.linear_transpose(of, given)(cotangent)[0]

    run = compilation.jit(derivative)
    return lambda: run(cotangent, x, kernel).block_until_ready()


if __name__ == "__main__":
    main()
