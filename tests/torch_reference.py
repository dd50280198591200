"""Independent PyTorch implementations, written from the papers' equations and torch's own layers.

Everything takes and returns NumPy arrays in the layouts of this project (NHWC, HWIO).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

# torchvision's configuration lists: numbers are convolutions with a ReLU, "M" is pooling
LAYOUTS: dict[str, tuple[int | str, ...]] = {
    "vgg16": (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512),
    "compact": (24, 24, "M", 40, 40, "M", 72, 72, 72, "M", 128, 128, 128, "M", 128, 128, 128),
    "distilled": (24, 24, "M", 40, 40, "M", 72, 72, 72, "M", 96, 96, 96),
}


def tensors(tree: Any) -> Any:
    """Nested dicts of arrays to nested dicts of float64 tensors."""
    if isinstance(tree, Mapping):
        return {name: tensors(leaf) for name, leaf in tree.items()}
    return torch.tensor(np.asarray(tree, np.float64))


def arrays(tree: Any) -> Any:
    """Nested dicts of tensors to nested dicts of arrays."""
    if isinstance(tree, Mapping):
        return {name: arrays(leaf) for name, leaf in tree.items()}
    return tree.detach().numpy()


def channels_first(images: Any) -> torch.Tensor:
    return tensors(images).permute(0, 3, 1, 2)


def channels_last(x: torch.Tensor) -> np.ndarray:
    return x.detach().permute(0, 2, 3, 1).numpy()


def _convolution(x: torch.Tensor, layer: Mapping[str, torch.Tensor], stride: int) -> torch.Tensor:
    kernel = layer["kernel"].permute(3, 2, 0, 1)
    x = F.pad(x, (kernel.shape[-1] // 2,) * 4, mode="reflect")
    return F.conv2d(x, kernel, layer["bias"], stride=stride)


def _norm(x: torch.Tensor, style: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return F.instance_norm(x, weight=style["scale"], bias=style["bias"], eps=1e-5)


def johnson(params: Mapping[str, Any], x: torch.Tensor) -> torch.Tensor:
    """Johnson et al. 2016 with one style; (N, 3, H, W) to (N, 3, H, W)."""
    weights, style = params["weights"], params["style"]

    def stage(name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        return _norm(_convolution(x, weights[name], stride), style[f"{name}_norm"])

    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % 4, 0, -height % 4), mode="reflect")
    x = stage("conv1", x).relu()
    x = stage("conv2", x, 2).relu()
    x = stage("conv3", x, 2).relu()
    index = 1
    while f"residual{index}_1" in weights:
        x = x + stage(f"residual{index}_2", stage(f"residual{index}_1", x).relu())
        index += 1
    x = F.interpolate(x, scale_factor=2, mode="nearest")
    if "up1_blur" in weights:
        x = _norm(_convolution(x, weights["up1_blur"], 1), style["up1_norm"]).relu()
        # binomial weights: means of 2 x 2 pixels, twice
        x = F.avg_pool2d(F.avg_pool2d(F.pad(x, (1,) * 4, mode="replicate"), 2, 1), 2, 1)
    else:
        x = stage("up1", x).relu()
    x = stage("up2", F.interpolate(x, scale_factor=2, mode="nearest")).relu()
    return _convolution(x, weights["conv4"], 1).sigmoid()[:, :, :height, :width]


def vgg(weights: Mapping[str, Any], architecture: str, pooling: str) -> torch.nn.Sequential:
    """torchvision's `features` with the given weights, as deep as these reach."""
    modules: list[torch.nn.Module] = []
    remaining = [layer for name, layer in weights.items() if name.startswith("conv")]
    channels = 3
    for entry in LAYOUTS[architecture]:
        if not remaining:
            break
        if entry == "M":
            kind = torch.nn.MaxPool2d if pooling == "max" else torch.nn.AvgPool2d
            modules.append(kind(kernel_size=2, stride=2))
            continue
        layer = remaining.pop(0)
        convolution = torch.nn.Conv2d(channels, entry, kernel_size=3, padding=1).double()
        convolution.weight.data = tensors(layer["kernel"]).permute(3, 2, 0, 1).contiguous()
        convolution.bias.data = tensors(layer["bias"])
        modules += [convolution, torch.nn.ReLU()]
        channels = entry
    return torch.nn.Sequential(*modules).requires_grad_(False)


def vgg_features(network: torch.nn.Sequential, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs of all ReLUs by their standard names; (N, 3, H, W) in [0, 1]."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)
    x = (x - mean) / deviation
    features = {}
    block, index = 1, 1
    for module in network:
        x = module(x)
        if isinstance(module, torch.nn.ReLU):
            features[f"relu{block}_{index}"] = x
            index += 1
        elif not isinstance(module, torch.nn.Conv2d):
            block, index = block + 1, 1
    return features


def gram(x: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) to (N, C, C), divided by C H W."""
    n, c, h, w = x.shape
    rows = x.reshape(n, c, h * w)
    return torch.bmm(rows, rows.transpose(1, 2)) / (c * h * w)


def perceptual_loss(
    network: torch.nn.Sequential,
    outputs: torch.Tensor,
    contents: torch.Tensor,
    style: torch.Tensor,
    *,
    content_layers: Sequence[str],
    style_layers: Sequence[str],
    style_weight: float,
) -> torch.Tensor:
    """Content error + style_weight * Gram error to one style (1, 3, H, W); mean over outputs."""
    seen, wanted, painted = (vgg_features(network, x) for x in (outputs, contents, style))
    loss = torch.zeros((), dtype=torch.float64)
    for layer in content_layers:
        loss = loss + F.mse_loss(seen[layer], wanted[layer])
    for layer in style_layers:
        target = gram(painted[layer]).expand(len(outputs), -1, -1)
        loss = loss + style_weight * F.mse_loss(gram(seen[layer]), target)
    return loss


def meta_gradient(
    params: Mapping[str, Any],
    batch: Mapping[str, Any],
    feature_weights: Mapping[str, Any],
    *,
    architecture: str,
    pooling: str,
    subset: str,
    steps: int,
    rate: float,
    **loss_options: Any,
) -> tuple[float, dict[str, Any]]:
    """Outer loss of MetaStyle and its gradient, by autograd through the inner updates."""
    network = vgg(feature_weights, architecture, pooling)
    support, query = channels_first(batch["support"]), channels_first(batch["query"])
    start = tensors(params)
    leaves = _leaves(start)
    for leaf in leaves:
        leaf.requires_grad_(True)

    losses = []
    for painting in channels_first(batch["styles"]):

        def loss_fn(adapted: Mapping[str, Any], contents: torch.Tensor, painting=painting[None]):
            outputs = johnson(adapted, contents)
            return perceptual_loss(network, outputs, contents, painting, **loss_options)

        adapted = start
        for _ in range(steps):
            moving = _leaves(adapted["style"] if subset == "norm" else adapted)
            gradient = torch.autograd.grad(loss_fn(adapted, support), moving, create_graph=True)
            moved = {
                id(leaf): leaf - rate * slope for leaf, slope in zip(moving, gradient, strict=True)
            }
            adapted = _replace(adapted, moved)
        losses.append(loss_fn(adapted, query))
    loss = torch.stack(losses).mean()
    gradient = torch.autograd.grad(loss, leaves)
    moved = {id(leaf): slope for leaf, slope in zip(leaves, gradient, strict=True)}
    return loss.item(), arrays(_replace(start, moved))


def _leaves(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, Mapping):
        return [leaf for branch in tree.values() for leaf in _leaves(branch)]
    return [tree]


def _replace(tree: Any, values: Mapping[int, torch.Tensor]) -> Any:
    if isinstance(tree, Mapping):
        return {name: _replace(branch, values) for name, branch in tree.items()}
    return values.get(id(tree), tree)


def lpips(name: str, network: Mapping[str, Any], heads: Sequence[Any], x: Any, y: Any) -> Any:
    """LPIPS v0.1 of images in [0, 1], (N,), with AlexNet or VGG-16 as torchvision builds them.

    `network` has keys "conv1.kernel" ... for "alexnet", that of `vgg` for "vgg16".
    """
    if name == "alexnet":
        modules, taps = _alexnet(network), (1, 4, 7, 9, 11)
    else:
        modules, taps = vgg(network, "vgg16", "max"), (3, 8, 15, 22, 29)

    def features(images: Any) -> list[torch.Tensor]:
        shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(1, 3, 1, 1)
        scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(1, 3, 1, 1)
        z, found = (channels_first(images) * 2 - 1 - shift) / scale, []
        for index, module in enumerate(modules):
            z = module(z)
            if index in taps:
                found.append(z)
        return found

    total = 0
    for a, b, head in zip(features(x), features(y), heads, strict=True):
        a, b = (z / (z.square().sum(1, keepdim=True).sqrt() + 1e-10) for z in (a, b))
        weighed = F.conv2d((a - b).square(), tensors(head).view(1, -1, 1, 1))
        total = total + weighed.mean((1, 2, 3))
    return total.detach().numpy()


def _alexnet(weights: Mapping[str, Any]) -> torch.nn.Sequential:
    """`torchvision.models.alexnet().features`, its last pooling left out."""
    shapes = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1))
    shapes += ((384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
    modules: list[torch.nn.Module] = []
    for number, (into, out, size, stride, padding) in enumerate(shapes, start=1):
        if number in (2, 3):
            modules.append(torch.nn.MaxPool2d(3, 2))
        conv = torch.nn.Conv2d(into, out, size, stride, padding, dtype=torch.float64)
        kernel = np.asarray(weights[f"conv{number}.kernel"], np.float64).transpose(3, 2, 0, 1)
        conv.weight.data = torch.from_numpy(kernel.copy())
        conv.bias.data = torch.from_numpy(np.asarray(weights[f"conv{number}.bias"], np.float64))
        modules += [conv, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules)
