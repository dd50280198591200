"""MetaStyle's steps in PyTorch: the yardstick of `against_pytorch.py`.

Written from the equations (Zhang et al. 2019; Johnson et al. 2016; Simonyan & Zisserman 2015) as
one would write them for speed in PyTorch: NCHW, torch's own fused layers, functional parameters, a
fused Adam, autograd with `create_graph=True`. It shares nothing with tests/torch_reference.py,
which is float64, keeps one style per forward pass and is written to be read, not to be fast.

Parameters are flat dicts of tensors, `{"conv1.kernel": (O, I, k, k), "conv1.bias": (O,)}` for the
weights and `{"conv1_norm.scale": (C,), ...}` for the style, whose leaves may be (S, C).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Tensors = dict[str, torch.Tensor]
MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Problem:
    """The bilevel problem: the normalized Gram objective, T = `steps` steps of gradient descent."""

    style_weight: float = 2.0
    content_layer: str = "relu2_2"
    style_layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3")
    steps: int = 1
    rate: float = 0.1


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where tensors live and how images and kernels lie in memory."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.contiguous_format

    def images(self, array: Any) -> torch.Tensor:
        """(N, H, W, 3) array to (N, 3, H, W) tensor."""
        return self._place(torch.tensor(np.asarray(array)).permute(0, 3, 1, 2))

    def parameters(self, tree: Mapping[str, Mapping[str, Any]]) -> Tensors:
        """`{layer: {"kernel": HWIO, ...}}` of arrays to `{"layer.kernel": OIHW, ...}`."""
        tensors = {}
        for layer, leaves in tree.items():
            for name, leaf in leaves.items():
                tensor = torch.tensor(np.asarray(leaf))
                tensors[f"{layer}.{name}"] = self._place(
                    tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor
                )
        return tensors

    def _place(self, tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.to(self.device, self.dtype)
        if tensor.ndim < 4:
            return tensor.contiguous()
        return tensor.contiguous(memory_format=self.memory_format)


def arrays(tensors: Tensors) -> dict[str, dict[str, np.ndarray]]:
    """What `Placement.parameters` made tensors of, as arrays again."""
    tree: dict[str, dict[str, np.ndarray]] = {}
    for key, tensor in tensors.items():
        layer, _, name = key.partition(".")
        array = tensor.detach().cpu().numpy()
        tree.setdefault(layer, {})[name] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    return tree


def gradients(params: Mapping[str, Tensors]) -> dict[str, Any]:
    """The `.grad` of all leaves that have one, as `arrays`, with the part of `params` as root."""
    slopes = {
        part: {name: leaf.grad for name, leaf in tree.items() if leaf.grad is not None}
        for part, tree in params.items()
    }
    return {part: arrays(tree) for part, tree in slopes.items() if tree}


def convolution(weights: Tensors, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    """Reflection padding and a convolution."""
    kernel = weights[f"{name}.kernel"]
    x = F.pad(x, (kernel.shape[-1] // 2,) * 4, mode="reflect")
    return F.conv2d(x, kernel, weights[f"{name}.bias"], stride=stride)


def instance_norm(style: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    """Instance norm whose affine leaves are (C,) or (N, C)."""
    scale, bias = style[f"{name}.scale"], style[f"{name}.bias"]
    if scale.ndim == 1:
        return F.group_norm(x, x.shape[1], scale, bias)
    # groups of one channel: faster here than F.instance_norm, above all in double backward
    return F.group_norm(x, x.shape[1]) * scale[..., None, None] + bias[..., None, None]


def stylize(weights: Tensors, style: Tensors, x: torch.Tensor) -> torch.Tensor:
    """Johnson et al.'s network; (N, 3, H, W) to (N, 3, H, W) in [0, 1], H and W multiples of 4."""

    def stage(name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        return instance_norm(style, f"{name}_norm", convolution(weights, name, x, stride))

    x = stage("conv1", x).relu_()
    x = stage("conv2", x, 2).relu_()
    x = stage("conv3", x, 2).relu_()
    blocks = sum(name.startswith("residual") and "_1.kernel" in name for name in weights)
    for index in range(1, blocks + 1):
        x = x + stage(f"residual{index}_2", stage(f"residual{index}_1", x).relu_())
    for name in ("up1", "up2"):
        x = stage(name, F.interpolate(x, scale_factor=2, mode="nearest")).relu_()
    return convolution(weights, "conv4", x).sigmoid()


def features(network: Tensors, x: torch.Tensor) -> Tensors:
    """All ReLUs of a VGG, as deep as `network` reaches, by their standard names."""
    mean, deviation = (x.new_tensor(s).view(1, 3, 1, 1) for s in (MEAN, STANDARD_DEVIATION))
    x = (x - mean) / deviation
    outputs: Tensors = {}
    for name in [key.removesuffix(".kernel") for key in network if key.endswith(".kernel")]:
        if name.endswith("_1") and name != "conv1_1":
            x = F.max_pool2d(x, 2)
        x = F.conv2d(x, network[f"{name}.kernel"], network[f"{name}.bias"], padding=1).relu_()
        outputs[name.replace("conv", "relu")] = x
    return outputs


def gram(x: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) to (N, C, C), divided by C H W."""
    columns = x.flatten(2)
    return torch.bmm(columns, columns.mT) / x[0].numel()


def content_targets(problem: Problem, network: Tensors, images: torch.Tensor) -> Tensors:
    """Features (B, C, h, w) of contents and the inverse of their mean squares (B,)."""
    wanted = features(network, images)[problem.content_layer]
    return {"features": wanted, "scale": 1 / wanted.square().mean((1, 2, 3))}


def style_targets(problem: Problem, network: Tensors, images: torch.Tensor) -> dict[str, Tensors]:
    """Per layer Gram matrices (S, C, C) and the inverse of their mean squares (S,)."""
    seen = features(network, images)
    grams = {layer: gram(seen[layer]) for layer in problem.style_layers}
    return {
        layer: {"gram": wanted, "scale": 1 / wanted.square().mean((1, 2))}
        for layer, wanted in grams.items()
    }


def loss(
    problem: Problem,
    network: Tensors,
    outputs: torch.Tensor,
    contents: Tensors,
    styles: Mapping[str, Tensors],
) -> torch.Tensor:
    """(S,) mean over contents of the normalized loss of (S * B, 3, H, W) outputs."""
    seen = features(network, outputs)
    count = (-1, contents["scale"].shape[0])
    error = seen[problem.content_layer].unflatten(0, count) - contents["features"]
    total = (error.square().mean((2, 3, 4)) * contents["scale"]).mean(1)
    for layer, target in styles.items():
        error = gram(seen[layer]).unflatten(0, count) - target["gram"][:, None]
        error = error.square().mean((1, 2, 3)) * target["scale"]
        total = total + problem.style_weight * error
    return total


def stylization_loss(
    problem: Problem,
    network: Tensors,
    weights: Tensors,
    style: Tensors,
    contents: torch.Tensor,
    targets: tuple[Tensors, Mapping[str, Tensors]],
) -> torch.Tensor:
    """(S,) losses of every style, leaves (S, C), on (B, 3, H, W) contents."""
    count = next(iter(style.values())).shape[0]
    rows = {name: leaf.repeat_interleave(len(contents), 0) for name, leaf in style.items()}
    outputs = stylize(weights, rows, contents.repeat(count, 1, 1, 1))
    return loss(problem, network, outputs, *targets)


# (function of a dict of tensors to a scalar, that dict) -> gradient with respect to it
Gradient = Callable[[Callable[[Tensors], torch.Tensor], Tensors], Tensors]


def second_order(function: Callable[[Tensors], torch.Tensor], point: Tensors) -> Tensors:
    """An inner gradient that the outer gradient goes through."""
    slopes = torch.autograd.grad(function(point), list(point.values()), create_graph=True)
    return dict(zip(point, slopes, strict=True))


def first_order(function: Callable[[Tensors], torch.Tensor], point: Tensors) -> Tensors:
    """An inner gradient that is a constant to the outer gradient."""
    slopes = torch.autograd.grad(function(point), list(point.values()))
    return dict(zip(point, slopes, strict=True))


def meta_loss(
    problem: Problem,
    network: Tensors,
    params: Mapping[str, Tensors],
    batch: Tensors,
    gradient: Gradient = second_order,
) -> torch.Tensor:
    """Mean over styles of the query loss after the inner steps on the support contents."""
    weights = params["weights"]
    with torch.no_grad():
        styles = style_targets(problem, network, batch["styles"])
        support = content_targets(problem, network, batch["support"])
        query = content_targets(problem, network, batch["query"])

    def inner(style: Tensors) -> torch.Tensor:
        arguments = (problem, network, weights, style, batch["support"], (support, styles))
        return stylization_loss(*arguments).sum()

    count = len(batch["styles"])
    style = {name: leaf.expand(count, -1) for name, leaf in params["style"].items()}
    for _ in range(problem.steps):
        slopes = gradient(inner, style)
        style = {name: leaf - problem.rate * slopes[name] for name, leaf in style.items()}
    return stylization_loss(
        problem, network, weights, style, batch["query"], (query, styles)
    ).mean()


def trainable(params: Mapping[str, Tensors], *parts: str) -> list[torch.Tensor]:
    """The leaves of `parts` ("weights", "style"), made to require gradients; the others not."""
    for name, tree in params.items():
        for leaf in tree.values():
            leaf.requires_grad_(name in parts)
    return [leaf for part in parts for leaf in params[part].values()]


def outer_step(
    meta_loss_fn: Callable[[Mapping[str, Tensors], Tensors], torch.Tensor],
    params: Mapping[str, Tensors],
    batch: Tensors,
    optimizer: torch.optim.Optimizer,
) -> torch.Tensor:
    """One outer step, in place; returns the outer loss before it."""
    optimizer.zero_grad(set_to_none=True)
    value = meta_loss_fn(params, batch)
    value.backward()
    optimizer.step()
    return value.detach()


def adaptation_loss(
    problem: Problem,
    network: Tensors,
    params: Mapping[str, Tensors],
    contents: torch.Tensor,
    styles: Mapping[str, Tensors],
) -> torch.Tensor:
    """The loss of one style, leaves (C,), on (B, 3, H, W) contents."""
    with torch.no_grad():
        wanted = content_targets(problem, network, contents)
    outputs = stylize(params["weights"], params["style"], contents)
    return loss(problem, network, outputs, wanted, styles).sum()


def adaptation_step(
    loss_fn: Callable[[Mapping[str, Tensors], torch.Tensor], torch.Tensor],
    params: Mapping[str, Tensors],
    contents: torch.Tensor,
    optimizer: torch.optim.Optimizer,
) -> torch.Tensor:
    """One step of adaptation, in place; returns the loss before it."""
    optimizer.zero_grad(set_to_none=True)
    value = loss_fn(params, contents)
    value.backward()
    optimizer.step()
    return value.detach()
