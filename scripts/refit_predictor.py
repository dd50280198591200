"""Fits a new predictor of styles to the predictions of an old one, for other features or units.

    python scripts/refit_predictor.py START FILE --artworks=FOLDER [--features=compact]

START is a workdir or a parameter file with a predictor. FILE gets its weights and style, and a
predictor that sees images with `--features`. A predictor of compact features needs no VGG-16 where
it is used, and is smaller. The fit is a regression: no network draws anything. A training that
begins with FILE (`--config.model.init`) moves the predictor further.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metastyle_jax.data import pipeline
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.features import registry
from metastyle_jax.networks import predictor
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import provenance
from metastyle_jax.storage import initialization, overwriting, style_file

BATCH = 256  # crops per step of the fit
HELD_OUT = 0.1  # the last artworks, to judge the fit by
SMALL = 1e-3  # a parameter that no artwork moves needs no fit
SETTING = "model.predictor_features"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("start")
    parser.add_argument("file", type=Path)
    parser.add_argument("--artworks", required=True)
    parser.add_argument("--features", default="compact")
    parser.add_argument("--hidden", type=int, default=128, help="units of the new predictor")
    parser.add_argument("--crops", type=int, default=8, help="of each artwork")
    parser.add_argument("--steps", type=int, default=6000, help="of Adam")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="falls to 0")
    args = parser.parse_args()
    overwriting.refuse_overwriting([args.file], [Path(args.start)], "file name")
    init = initialization.load(args.start)
    if init.predictor is None:
        raise UserError(f"{args.start} has no predictor: give the workdir of a training with one")
    inputs, targets = _pairs(init, args)
    # whole artworks, so that no other crop of them is fitted
    held_out = args.crops * max(1, round(HELD_OUT * len(inputs) / args.crops))
    network = _fit(init, inputs[:-held_out], targets[:-held_out], args)
    rest = targets[-held_out:]
    error = np.square(
        _flat(predictor.predict(network, inputs[-held_out:], init.params["style"])) - rest
    )
    settings = {**init.settings, SETTING: args.features, "model.predictor": args.hidden}
    params = {**init.params, "predictor": jax.device_get(network)}
    style_file.save_params(args.file, params, settings=settings)
    print(
        f"{args.file}: {error.mean() / rest.var(axis=0).mean():.3f} of the variance of the old "
        f"predictions is not explained, on {held_out} crops of other artworks"
    )


def _pairs(
    init: initialization.Initialization, args: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray]:
    """What the new predictor sees of each crop (N, inputs), and what the old one says (N, C)."""
    settings = init.settings
    layers = provenance.recorded_objective(settings).style_layers
    spec, pooling = provenance.recorded_predictor_features(settings)
    old, new = registry.load(spec, layers, pooling=pooling), registry.load(args.features, layers)

    @compilation.jit
    def pair(params: Any, old: FeatureNetwork, new: FeatureNetwork, crops: jax.Array) -> Any:
        style = init.params["style"]
        predicted = predictor.predict_from_images(params, old, layers, crops, style)
        return predictor.statistics(new.extract(crops, layers)), _flat(predicted)

    source = FolderSource(args.artworks, "folder of artworks")
    print(f"looking at {args.crops} crops of each of {len(source)} artworks ...", flush=True)
    crop = pipeline.Crop(
        settings["data.image_size"], settings["data.min_scale"], settings["data.max_scale"]
    )
    # one epoch: every artwork once, with the crops of one artwork together
    stream = pipeline.crops(source, crop, count=1, order=pipeline.Order(0), views=args.crops)
    pairs = [
        jax.device_get(pair(init.predictor, old, new, crops))
        for crops in itertools.islice(stream, len(source))
    ]
    inputs, targets = zip(*pairs, strict=True)
    return np.concatenate(inputs), np.concatenate(targets)


def _fit(
    init: initialization.Initialization,
    inputs: np.ndarray,
    targets: np.ndarray,
    args: argparse.Namespace,
) -> predictor.Params:
    """Least squares, each parameter of the style in units of its deviation."""
    style = init.params["style"]
    optimizer = optax.adam(optax.cosine_decay_schedule(args.learning_rate, args.steps))
    deviation = targets.std(axis=0) + SMALL

    @compilation.jit
    def step(network: Any, state: Any, inputs: jax.Array, targets: jax.Array) -> Any:
        def loss_fn(network: Any) -> jax.Array:
            error = _flat(predictor.predict(network, inputs, style)) - targets
            return jnp.square(error / deviation[None]).mean()

        loss, gradient = jax.value_and_grad(loss_fn)(network)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(network, updates), state, loss

    network = predictor.init(jax.random.key(0), style, inputs=inputs.shape[1], hidden=args.hidden)
    state, random = optimizer.init(network), np.random.default_rng(0)
    for number in range(1, args.steps + 1):
        rows = random.integers(len(inputs), size=BATCH)
        network, state, loss = step(network, state, inputs[rows], targets[rows])
        if number % max(1, args.steps // 10) == 0:
            print(f"step {number}/{args.steps} error {loss:.4f} of the variance", flush=True)
    return network


def _flat(style: Any) -> Any:
    """(N, C) of a style with leaves (N, c)."""
    return jnp.concatenate(jax.tree.leaves(style), axis=-1)


if __name__ == "__main__":
    with exit_cleanly():
        main()
