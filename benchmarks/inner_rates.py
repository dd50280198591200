"""Loss after one inner step against the inner rate, to choose `config.inner.learning_rate`.

    python benchmarks/inner_rates.py --init runs/small --styles ../shared/images/style/train \
        --contents ../shared/images/content/train --features vgg16

For each of `--count` styles: norm of the inner gradient, and the loss on query contents, relative
to that before, after one step of SGD on the style's parameters on support contents, without
clipping. Below 1 a step helps; where it first rises above 1 is the bound of stability in practice.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import picture_choice

from metastyle_jax import bilevel
from metastyle_jax.features import registry
from metastyle_jax.metalearning import outer_loss
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import stylization_network
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import provenance
from metastyle_jax.storage import initialization

RATES = (1e-5, 1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


def main() -> None:
    args = parse()
    if args.init == "random":
        params, recorded = (
            stylization_network.init(jax.random.key(0)),
            initialization.load().settings,
        )
    else:
        init = initialization.load(args.init)
        params, recorded = jax.tree.map(jnp.asarray, init.params), init.settings
    objective = provenance.recorded_objective(recorded)
    network = registry.load(args.features, objective.layers)
    loop = InnerLoop(estimator=bilevel.first_order, unroll=True)

    @compilation.jit
    def losses(rate: jax.Array, params: MetaParameters, batch: Batch, task: StyleTask):
        return outer_loss.meta_loss(params, batch, task, loop, optax.sgd(rate))

    count = 2 * args.contents_per_style
    contents = picture_choice.squares(args.contents, "content folder", count, args.size)
    support, query = np.split(contents, 2)
    evaluate = functools.partial(
        losses, params=MetaParameters(**params), task=StyleTask(objective, network)
    )
    print("| style | gradient | " + " | ".join(f"{rate:g}" for rate in RATES) + " |")
    print("|---" * (len(RATES) + 2) + "|")
    rows = []
    for style in picture_choice.squares(args.styles, "style folder", args.count, args.size):
        batch = Batch(styles=style[None], support=support, query=query)
        before, metrics = evaluate(jnp.zeros(()), batch=batch)
        after = [float(evaluate(jnp.asarray(rate), batch=batch)[0] / before) for rate in RATES]
        rows.append([float(metrics["inner_gradient_norm"]), *after])
        print(line(str(len(rows)), rows[-1]), flush=True)
    print(line("median", np.median(rows, axis=0)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--init", required=True, help="random, embedded, a workdir or a file")
    parser.add_argument("--styles", type=Path, required=True)
    parser.add_argument("--contents", type=Path, required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--count", type=int, default=12, help="styles, spread over the folder")
    parser.add_argument("--contents-per-style", type=int, default=2, help="support, and query")
    parser.add_argument("--size", type=int, default=128)
    return parser.parse_args()


def line(name: str, values) -> str:
    return f"| {name} | " + " | ".join(f"{value:.4g}" for value in values) + " |"


if __name__ == "__main__":
    main()
