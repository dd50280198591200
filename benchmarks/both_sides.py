"""The steps that `against_pytorch.py` times: each as a `Side`, ready to run, in JAX or PyTorch."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytorch_step
import random_parameters
import torch

from metastyle_jax import bilevel
from metastyle_jax.adaptation import style_adaptation
from metastyle_jax.features import registry
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import outer_step, subsets
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import stylization_network
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.runtime import compilation

PROBLEM = pytorch_step.Problem()
OBJECTIVE = perceptual.Objective(
    content_layers=(PROBLEM.content_layer,),
    style_layers=PROBLEM.style_layers,
    style_weight=PROBLEM.style_weight,
    normalize=True,
)
OUTER_RATE, ADAPTATION_RATE = 1e-5, 1e-3
# the first moment of Adam after the first step is this times the gradient
FIRST_MOMENT = 0.1


class Side(NamedTuple):
    """One side of a comparison.

    Attributes:
      run: takes the step once and waits for it; its value is what `result` reads.
      result: value of the first run -> (loss, pytree of gradients or pictures), to be compared.
      compile_seconds: None where compilation is part of the first run.
      temporary: bytes that XLA reports; None for PyTorch.
      operations, traffic: floating point operations, and bytes read and written, that XLA counts in
        the compiled program; operations on GPUs before compilation, because a compiled program
        there calls libraries. None for PyTorch.
    """

    run: Callable[[], Any]
    result: Callable[[Any], tuple[float, Any]]
    compile_seconds: float | None = None
    temporary: int | None = None
    operations: float | None = None
    traffic: float | None = None


class Setting(NamedTuple):
    """What all steps share; `dtype` is that of the convolutions on the JAX side, None: float32."""

    device: str
    params: Any
    network: FeatureNetwork
    dtype: str | None = None

    def tensors(self, form: str) -> tuple[pytorch_step.Placement, Any, Any]:
        """(placement, params, feature weights) of a PyTorch form."""
        last = form == "channels_last"
        memory_format = torch.channels_last if last else torch.contiguous_format
        place = pytorch_step.Placement(self.device, memory_format=memory_format)
        params = {part: place.parameters(tree) for part, tree in self.params.items()}
        return place, params, place.parameters(self.network.weights)


def make_setting(device: str, features: str, dtype: str | None = None) -> Setting:
    """Random parameters; the feature network pools as the PyTorch side does."""
    network = registry.load(features, OBJECTIVE.layers, pooling="max", dtype=dtype)
    return Setting(device, random_params(), network, dtype)


def random_params() -> Any:
    """See `random_parameters.draw`."""
    shapes = jax.eval_shape(stylization_network.init, jax.random.key(0))
    return random_parameters.draw(shapes, seed=1)


def pictures(count: int, size: int, seed: int) -> np.ndarray:
    """(count, size, size, 3) in [0, 1]: squares of 8 pixels in random colors."""
    coarse = np.random.default_rng(seed).uniform(size=(count, size // 8, size // 8, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)


class Outer(NamedTuple):
    """One outer step of `count` styles x `count` contents of `size` pixels, T = `steps`."""

    count: int
    steps: int
    estimator: str
    size: int = 128

    @property
    def name(self) -> str:
        count = f"{self.count}x{self.count}"
        return f"outer {self.size} px {count} T={self.steps} {self.estimator}"


def outer(setting: Setting, what: Outer, form: str) -> Side:
    """An outer step in one of the forms of `against_pytorch.py`."""
    names = ("styles", "support", "query")
    batch = {name: pictures(what.count, what.size, seed) for seed, name in enumerate(names)}
    if form == "jax":
        return _outer_jax(setting, batch, what)
    place, params, network = setting.tensors(form)
    tensors = {name: place.images(array) for name, array in batch.items()}
    problem = dataclasses.replace(PROBLEM, steps=what.steps)
    order = "first_order" if what.estimator == "first_order" else "second_order"
    gradient = getattr(pytorch_step, order)
    meta_loss = functools.partial(pytorch_step.meta_loss, problem, network, gradient=gradient)
    if form == "compiled":
        meta_loss = torch.compile(meta_loss)
    moving = pytorch_step.trainable(params, "weights", "style")
    optimizer = torch.optim.Adam(moving, OUTER_RATE, fused=True)
    return _side(
        setting, params, lambda: pytorch_step.outer_step(meta_loss, params, tensors, optimizer)
    )


def _outer_jax(setting: Setting, batch: Any, what: Outer) -> Side:
    optimizer = optax.adam(OUTER_RATE)
    loop = InnerLoop(
        steps=what.steps,
        estimator=bilevel.ESTIMATORS[what.estimator],
        unroll=setting.device == "cpu",
        optimizer=lambda step, rates: optax.sgd(PROBLEM.rate),
    )
    step = functools.partial(outer_step.train_step, loop=loop, outer_optimizer=optimizer)
    state = outer_step.init_state(MetaParameters(**setting.params), optimizer)

    def result(value: Any) -> tuple[float, Any]:
        state, metrics = value
        return float(metrics["outer_loss"]), _gradient(state.opt_state[0].mu.network)

    task = StyleTask(OBJECTIVE, setting.network, dtype=setting.dtype)
    arguments = (state, Batch(**batch), task)
    return _compiled(compilation.jit(step).lower, arguments, {}, result)


def adapt(setting: Setting, subset: str, form: str) -> Side:
    """One step of adaptation at 256 px, batch 1; `subset` is "norm" or "all"."""
    painting, contents = pictures(1, 256, 0), pictures(1, 256, 1)
    if form == "jax":
        return _adapt_jax(setting, subset, painting, contents)
    place, params, network = setting.tensors(form)
    painting, contents = place.images(painting), place.images(contents)
    with torch.no_grad():
        styles = pytorch_step.style_targets(PROBLEM, network, painting)
    loss = functools.partial(pytorch_step.adaptation_loss, PROBLEM, network, styles=styles)
    if form == "compiled":
        loss = torch.compile(loss)
    parts = ("style",) if subset == "norm" else ("weights", "style")
    moving = pytorch_step.trainable(params, *parts)
    optimizer = torch.optim.Adam(moving, ADAPTATION_RATE, fused=True)
    return _side(
        setting, params, lambda: pytorch_step.adaptation_step(loss, params, contents, optimizer)
    )


def _adapt_jax(setting: Setting, subset: str, painting: Any, contents: Any) -> Side:
    fast, slow = subsets.split(setting.params, subset)
    styles = style_adaptation.make_style_targets(painting[0], setting.network, objective=OBJECTIVE)
    arguments = (fast, optax.scale_by_adam().init(fast), contents, np.int32(0))
    keywords = {
        "learning_rate": np.float32(ADAPTATION_RATE),
        "slow": slow,
        "style_targets": styles,
        "task": StyleTask(OBJECTIVE, setting.network, dtype=setting.dtype),
    }

    def result(value: Any) -> tuple[float, Any]:
        _, opt_state, metrics = value
        return float(metrics["loss"]), _gradient(opt_state.mu)

    return _compiled(style_adaptation.adaptation_step.lower, arguments, keywords, result)


def inference(setting: Setting, size: int, form: str) -> Side:
    """One picture through the network."""
    image = pictures(1, size, 0)
    if form == "jax":
        arguments = (setting.params["weights"], setting.params["style"], image)
        stylize = functools.partial(stylization_network.stylize, dtype=setting.dtype)
        lower = compilation.jit(stylize).lower
        return _compiled(lower, arguments, {}, lambda value: (0.0, np.asarray(value)))
    place, params, _ = setting.tensors(form)
    image = place.images(image)
    stylize = torch.compile(pytorch_step.stylize) if form == "compiled" else pytorch_step.stylize

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return _wait(setting, stylize(params["weights"], params["style"], image))

    return Side(run, lambda value: (0.0, value.permute(0, 2, 3, 1).cpu().numpy()))


def _compiled(lower: Callable, arguments: tuple, keywords: dict, result: Callable) -> Side:
    # on the device beforehand, as in a training loop
    arguments, keywords = jax.device_put((arguments, keywords))
    start = time.perf_counter()
    lowered = lower(*arguments, **keywords)
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    cost = compiled.cost_analysis() or {}
    counted = cost if jax.default_backend() == "cpu" else lowered.cost_analysis() or {}
    return Side(
        lambda: jax.block_until_ready(compiled(*arguments, **keywords)),
        result,
        seconds,
        compiled.memory_analysis().temp_size_in_bytes,
        counted.get("flops"),
        cost.get("bytes accessed"),
    )


def _gradient(moment: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf) / FIRST_MOMENT, moment)


def _side(setting: Setting, params: Any, step: Callable[[], torch.Tensor]) -> Side:
    """A PyTorch side whose gradients lie in `.grad` of the parameters."""
    return Side(
        lambda: _wait(setting, step()), lambda loss: (loss.item(), pytorch_step.gradients(params))
    )


def _wait(setting: Setting, value: torch.Tensor) -> torch.Tensor:
    if setting.device == "cuda":
        torch.cuda.synchronize()
    return value
