"""bfloat16 convolutions: everything that adds up many numbers, and all that is kept, is float32."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

import tiny
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.style_tasks import StyleTask

LAYERS = ("relu1_2", "relu2_2")
SIZE = 32
BFLOAT16 = jnp.dtype("bfloat16")
# sums that are small enough for bfloat16: the windows of a pooling, the borders of a padding
FEW = 4
SUMS = ("reduce_sum", "cumsum", "reduce_window_sum", "dot_general")


def equations(jaxpr) -> Iterator:
    """All equations, those of called functions included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=is_program):
            if is_program(value):
                yield from equations(getattr(value, "jaxpr", value))


def is_program(value) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def summed(equation) -> int:
    """How many numbers go into one of the result."""
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return int(np.prod([equation.invars[0].aval.shape[axis] for axis in contracted]))
    return equation.invars[0].aval.size // max(1, equation.outvars[0].aval.size)


def test_sums_are_float32_and_so_is_all_that_is_kept(standard_promotion):
    optimizer = optax.adam(1e-3)
    objective = perceptual.Objective(
        content_layers=("relu2_2",),
        style_layers=LAYERS,
        style_weight=1.0,
        total_variation_weight=1.0,
        normalize=True,
    )
    step = functools.partial(
        outer_step.train_step,
        loop=InnerLoop(unroll=True, optimizer=lambda step, rates: optax.sgd(0.1)),
        outer_optimizer=optimizer,
    )
    state = outer_step.init_state(tiny.meta_parameters(), optimizer)
    network = tiny.feature_network(LAYERS, pooling="average")
    network = dataclasses.replace(network, dtype="bfloat16")
    task = StyleTask(objective, network, dtype="bfloat16")
    arguments = (state, tiny.batch(2, 2, SIZE, SIZE), task)
    program = jax.make_jaxpr(step)(*arguments)
    found = list(equations(program.jaxpr))

    convolutions = [e for e in found if e.primitive.name == "conv_general_dilated"]
    assert len(convolutions) > 50
    assert {variable.aval.dtype for e in convolutions for variable in e.invars} == {BFLOAT16}
    narrow = {
        (e.primitive.name, summed(e), e.invars[0].aval.shape)
        for e in found
        if e.primitive.name in SUMS and e.invars[0].aval.dtype == BFLOAT16
    }
    assert not {entry for entry in narrow if entry[1] > FEW}
    kept = [aval for aval in program.out_avals if aval.dtype != jnp.dtype("int32")]
    assert {aval.dtype for aval in kept} == {jnp.dtype("float32")}
