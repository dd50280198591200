"""Feature networks compared: what their Gram matrices distinguish, and at what cost."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.data.images import check_minimum_size, inspect_image, list_images, read_image
from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import judging
from metastyle_jax.features import registry
from metastyle_jax.losses import perceptual
from metastyle_jax.networks import vgg
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.reporting.records import Row, labels, markdown_table, write_csv
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import ranges
from metastyle_jax.storage.atomic import prepare_folder, write_text
from metastyle_jax.studies.features import matching

_LOG = logging.getLogger(__name__)

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
SMALLEST = 16  # pixels of a side: half of it, a corner, is one position at relu4_3
SEEN_AT = "relu3_3"  # where VGG-16 sees weaves best (docs/results/notebook.md)
RANDOM = "random-"  # before an architecture: He's initialization, seed 0


@dataclasses.dataclass(frozen=True)
class FeatureStudy:
    """Settings of the study.

    Attributes:
      styles: folder of artworks that nothing was trained on.
      networks: "compact", "distilled", "vgg16", "vgg16:FILE", "random-vgg16" ...
      picture: a picture whose style error each network measures; empty for none.
      style: the style image that `picture` was drawn in.
    """

    styles: str = ""
    networks: tuple[str, ...] = ("compact",)
    picture: str = ""
    style: str = ""


def run(study: FeatureStudy, out: Path) -> None:
    """Measure every network; writes `features.md` and `features.csv` below `out`.

    Raises:
      UserError: a network or a folder cannot be used.
    """
    if not study.styles:
        raise UserError("--styles is missing: give a folder of pictures")
    ranges.refuse_empty(study, ("networks",))
    files = _large_enough(list_images(study.styles, "style folder"))
    if len(files) < 2:
        raise UserError(
            f"--styles={study.styles} has fewer than two pictures of at least {SMALLEST} pixels on "
            "each side: give two or more"
        )
    pair = _read_pair(study)
    measures = [
        _open(spec, label, pair)
        for spec, label in zip(study.networks, labels(study.networks), strict=True)
    ]
    prepare_folder(out)
    rows = []
    for measure in measures:
        rows.append(measure(files))
        _LOG.info(f"{rows[-1]['network']}: {100 * rows[-1]['matched']:.1f} %")
    write_csv(out / "features.csv", rows)
    columns = {
        "network": "network",
        "layers": "layers",
        "matched": f"matched of {len(files)}",
        "standard error": "standard error",
        "kilobytes": "kB in float16",
        "cost": "multiplications per pixel",
        "relative": "of VGG-16 to relu4_3",
    }
    if pair:
        columns["error"] = f"style error of {Path(study.picture).name} at {SEEN_AT}"
    table = markdown_table(rows, columns)
    heading = (
        "Share of corners of artworks whose nearest, by the mean cosine of Gram matrices, is the "
        f"other corner of the same artwork; {len(files)} artworks of {study.styles}, "
        f"{1 / len(files):.3f} by chance.\n\n"
    )
    write_text(out / "features.md", heading + table)
    _LOG.info(f"wrote {out / 'features.md'}")


def _large_enough(files: Sequence[Path]) -> list[Path]:
    """The pictures that have a corner for every network; the others are named and left out."""
    kept = []
    for file in files:
        header = inspect_image(file, minimum=1)
        if min(header.width, header.height) >= SMALLEST:
            kept.append(file)
        else:
            _LOG.warning(
                f"{file}: skipped: {header.width}x{header.height} pixels, and the study needs "
                f"{SMALLEST} on each side"
            )
    return kept


def _read_pair(study: FeatureStudy) -> list[np.ndarray]:
    """The picture and its style, both (H, W, 3); empty where none was given."""
    if bool(study.picture) != bool(study.style):
        given, absent = ("picture", "style") if study.picture else ("style", "picture")
        raise UserError(f"--{given} needs --{absent}: the style error is between the two")
    pair = [(file, read_image(file)) for file in (study.picture, study.style) if file]
    for file, image in pair:
        check_minimum_size(image, file, SMALLEST)
    return [image for _, image in pair]


def _style_error(network: FeatureNetwork, pair: Sequence[np.ndarray]) -> float:
    """Squared difference of the Gram matrices at `SEEN_AT`, relative to the style's."""
    picture, style = pair
    objective = perceptual.Objective(
        content_layers=(SEEN_AT,), style_layers=(SEEN_AT,), style_weight=1.0, normalize=True
    )
    judge = judging.Judge(objective, network)
    return float(judging.measure(judge, picture[None], picture[None], style)["style"][0])


def _open(spec: str, label: str, pair: list[np.ndarray]) -> Callable[[Sequence[Path]], Row]:
    """(files) -> row of the table under `label`; reads the weights now."""
    layers = LAYERS if spec.startswith(RANDOM) else registry.usable_layers(spec, LAYERS)
    weights = _open_network(spec, layers)
    cost = vgg.multiplications_per_pixel(weights.architecture, layers)
    size = sum(leaf.size for leaf in jax.tree.leaves(weights))

    def extract(network: FeatureNetwork, images: jax.Array) -> list[jax.Array]:
        features = network.extract(images, layers)
        return [features[layer] for layer in layers]

    compiled = compilation.jit(extract)

    def measure(files: Sequence[Path]) -> Row:
        pictures = (read_image(file) for file in files)
        share = matching.share_matched(lambda images: compiled(weights, images), pictures)
        return {
            "network": label,
            "layers": ", ".join(layers),
            "matched": share,
            # counts artworks: the two corners of one are not independent
            "standard error": math.sqrt(share * (1 - share) / len(files)),
            "kilobytes": 2 * size / 1000,
            "cost": cost,
            "relative": cost / vgg.multiplications_per_pixel("vgg16", LAYERS),
            "error": _style_error(weights, pair) if pair and SEEN_AT in layers else math.nan,
        }

    return measure


def _open_network(spec: str, layers: tuple[str, ...]) -> FeatureNetwork:
    if not spec.startswith(RANDOM):
        return registry.load(spec, layers)
    architecture = spec.removeprefix(RANDOM)
    if architecture not in vgg.ARCHITECTURES:
        known = ", ".join(RANDOM + name for name in vgg.ARCHITECTURES)
        raise UserError(f"--networks: {spec!r} is unknown: use one of {known}")
    shapes = vgg.weight_shapes(architecture, layers)
    random = np.random.default_rng(0)

    def draw(shape: jax.ShapeDtypeStruct) -> jax.Array:
        kernel = random.standard_normal(shape.shape, np.float32)
        return jnp.asarray(kernel * np.float32(math.sqrt(2 / math.prod(shape.shape[:-1]))))

    weights = {
        conv: {"kernel": draw(shape["kernel"]), "bias": jnp.zeros(shape["bias"].shape)}
        for conv, shape in shapes.items()
    }
    return FeatureNetwork(spec, architecture, vgg.POOLING[architecture], weights)
