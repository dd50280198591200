"""Curvature of the inner problem, and the effect of the inner rate on a step and its gradient.

Plain gradient descent on a quadratic with Hessian H is stable up to the rate 2 / lambda_max(H).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh

from metastyle_jax import bilevel
from metastyle_jax.bilevel import inner_gradients
from metastyle_jax.metalearning import outer_step, schedule, style_tasks, subsets
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.reporting.records import Row
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import construction
from metastyle_jax.settings.schema import Settings
from metastyle_jax.studies.meta_gradients.gradients import PARTS, cosine, flat, joined, norm_ratio
from metastyle_jax.studies.meta_gradients.measurement_point import MeasurementPoint, one_step_loop

_LOG = logging.getLogger(__name__)

TOLERANCE = 1e-3  # of an eigenvalue, relative


def inner_spectrum(config: Settings, point: MeasurementPoint) -> list[Row]:
    """Ends of the spectrum of the inner Hessian, a row for each batch of one style.

    Lanczos iterations (ARPACK) on Hessian-vector products at the start of the inner loop.

    Returns:
      Rows with "style" (number of the batch), "largest", "smallest" (eigenvalues), "bound"
      (2 / largest), "gradient_norm" and "products" (how many the two eigenvalues took).
    """
    loop = one_step_loop(config, bilevel.exact)
    fast, slow = subsets.split(point.params.network, loop.subset)
    flat_fast, unravel = ravel_pytree(fast)

    @compilation.jit
    def gradient_and_product(vector: jax.Array, slow: Any, batch: Batch, task: StyleTask):
        key = schedule.draws_key(construction.make_schedule(config), jnp.int32(0))
        data, _ = style_tasks.support_and_query(task, batch, key=key if task.random else None)
        first, second = inner_gradients.products(
            style_tasks.inner_loss, unravel(flat_fast), slow, data, unravel(vector)
        )
        return optax.tree.norm(first[0]), ravel_pytree(second[0])[0]

    rows = []
    for number, batch in enumerate(point.batches):
        norm, _ = gradient_and_product(jnp.zeros_like(flat_fast), slow, batch, point.task)
        count = 0

        def product(vector: np.ndarray, batch: Any = batch) -> np.ndarray:
            nonlocal count
            count += 1
            direction = jnp.asarray(vector, flat_fast.dtype).ravel()
            return np.asarray(gradient_and_product(direction, slow, batch, point.task)[1])

        smallest, largest = spectrum_ends(product, flat_fast.size)
        rows.append(
            {
                "style": number,
                "largest": largest,
                "smallest": smallest,
                "bound": 2 / largest,
                "gradient_norm": float(norm),
                "products": count,
            }
        )
        _LOG.info(f"  style {number}: {smallest:.4g} to {largest:.4g}")
    return rows


def spectrum_ends(product: Callable[[np.ndarray], np.ndarray], size: int) -> tuple[float, float]:
    """(smallest, largest) eigenvalue of the symmetric (size, size) matrix behind `product`."""
    # cast: pyright knows neither the arguments of the first nor what the second returns without
    # eigenvectors
    operator = cast(Any, LinearOperator)((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    values = cast(Any, eigsh)(
        operator, k=2, which="BE", v0=start, tol=TOLERANCE, return_eigenvectors=False
    )
    return float(values.min()), float(values.max())


def rates_to(bound: float, count: int) -> list[float]:
    """`count` inner rates from the published 1e-5 to `bound`, evenly spaced in the logarithm."""
    return [float(rate) for rate in np.geomspace(1e-5, bound, count)]


class RateSweep:
    """One inner step of plain gradient descent at several rates; its programs compile once.

    Args:
      config: of the bilevel problem; its own inner rate, optimizer and clipping are left out.
    """

    def __init__(self, config: Settings) -> None:
        self._programs = {
            name: _gradient_at_rate(config, bilevel.ESTIMATORS[name])
            for name in ("exact", "first_order")
        }

    def measure(self, point: MeasurementPoint, batch: Any, curvature: Row, count: int) -> list[Row]:
        """Rows for `count` rates up to the bound that `inner_spectrum` found for this batch.

        Returns:
          Rows with "style", "rate", "of_bound" (rate over 2 / lambda_max), "loss_ratio" (query
          loss after the step over that before), "cosine", "cosine_weights", "cosine_style" and
          "norm_ratio" of the first-order gradient to the exact one.
        """

        def run(name: str, rate: float) -> tuple[dict, float]:
            program = self._programs[name]
            gradient, loss = program(jnp.float32(rate), point.params, batch, point.task)
            return {part: flat(getattr(gradient, part)) for part in PARTS}, float(loss)

        _, before = run("first_order", 0.0)
        rows = []
        for rate in rates_to(curvature["bound"], count):
            exact, after = run("exact", rate)
            first_order, _ = run("first_order", rate)
            rows.append(
                {
                    "style": curvature["style"],
                    "rate": rate,
                    "of_bound": rate / curvature["bound"],
                    "loss_ratio": after / before,
                    "cosine": cosine(joined(first_order), joined(exact)),
                    **{f"cosine_{part}": cosine(first_order[part], exact[part]) for part in PARTS},
                    "norm_ratio": norm_ratio(joined(first_order), joined(exact)),
                }
            )
        return rows


def _gradient_at_rate(config: Settings, estimator: bilevel.Estimator) -> Callable:
    loop = one_step_loop(config, estimator)

    @compilation.jit
    def run(rate: jax.Array, params: MetaParameters, batch: Batch, task: StyleTask):
        descent = dataclasses.replace(loop, optimizer=lambda step, rates: optax.sgd(rate))
        # every step is taken, and the loss after the last one counts in full
        plain = schedule.Schedule(subset=config.outer.subset, seed=config.seed)
        gradient, metrics = outer_step.outer_gradient(
            params, jnp.zeros((), jnp.int32), batch, task, loop=descent, schedule=plain
        )
        return gradient, metrics["outer_loss"]

    return run
