"""The stylization network as an ONNX graph, written node by node; NCHW and OIHW.

Any batch, height and width from 16 up: sizes that are no multiple of 4 are padded by reflection,
and the result is cropped.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from metastyle_jax.export.contents import AFFINE, Contents, style_vector
from metastyle_jax.networks.stylization_network import (
    DOWNSAMPLING,
    EPSILON,
    UP1,
    count_residual_blocks,
)
from metastyle_jax.storage import quantization

# the oldest that has all that is needed: what reads newer ones reads these too
OPSET = 17
IR_VERSION = 8


@dataclasses.dataclass
class _Graph:
    """Nodes and constants in the order in which they were added."""

    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = dataclasses.field(default_factory=dict)

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, array: Any) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, np.int64))


def make_model(contents: Contents) -> onnx.ModelProto:
    """The model, checked by `onnx.checker` with shape inference.

    Inputs: `images` (N, 3, H, W), float32 RGB in [0, 1]; and where the style is one, `style`
    (N or 1, S) float32, see `contents.style_order`. Output: `stylized` (N, 3, H, W) in [0, 1].
    """
    graph = _Graph()
    norms = _style_inputs(graph, contents) if contents.style_input else {}
    size = graph.node("Shape", ["images"], "image_size", start=2, end=4)
    x = _pad_to_multiple(graph, size)
    x = _network(graph, x, contents, norms)
    axes = graph.integers("spatial_axes", 2, 3)
    graph.node("Slice", [x, graph.integers("origin", 0, 0), size, axes], "stylized")
    model = _model(graph, contents)
    onnx.checker.check_model(model, full_check=True)
    return model


def _model(graph: _Graph, contents: Contents) -> onnx.ModelProto:
    shape = ["N", 3, "H", "W"]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)]
    if contents.style_input:
        length = style_vector(contents.style).size
        style = helper.make_tensor_value_info("style", TensorProto.FLOAT, ["styles", length])
        inputs.append(style)
    output = helper.make_tensor_value_info("stylized", TensorProto.FLOAT, shape)
    constants = list(graph.constants.values())
    body = helper.make_graph(graph.nodes, "stylization_network", inputs, [output], constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="metastyle_jax"
    )
    helper.set_model_props(model, contents.metadata)
    return model


def _style_inputs(graph: _Graph, contents: Contents) -> dict[str, tuple[str, str]]:
    """{norm: (name of its scale, name of its bias)}, each (N or 1, C, 1, 1)."""
    column = graph.node("Unsqueeze", ["style", graph.integers("last_axes", 2, 3)], "style_column")
    names = {norm: (f"{norm}.scale", f"{norm}.bias") for norm in contents.style}
    parts = [name for pair in names.values() for name in pair]
    sizes = [affine[part].size for affine in contents.style.values() for part in AFFINE]
    lengths = graph.integers("style_lengths", *sizes)
    split = helper.make_node("Split", [column, lengths], parts, name="style_parts", axis=1)
    graph.nodes.append(split)
    return names


def _pad_to_multiple(graph: _Graph, size: str) -> str:
    """Reflection at the bottom and at the right, up to multiples of 4."""
    # Mod has the sign of the divisor, as in Python
    negative = graph.node("Neg", [size], "negative_size")
    four = graph.integers("downsampling", DOWNSAMPLING)
    extra = graph.node("Mod", [negative, four], "extra_size")
    before = graph.integers("no_pads", 0, 0, 0, 0, 0, 0)
    pads = graph.node("Concat", [before, extra], "extra_pads", axis=0)
    return graph.node("Pad", ["images", pads], "padded_images", mode="reflect")


def _network(graph: _Graph, x: str, contents: Contents, norms: dict[str, tuple[str, str]]) -> str:
    def stage(name: str, x: str, *, layer: str = "", stride: int = 1, relu: bool = True) -> str:
        x = _convolution(graph, x, layer or name, contents, stride)
        x = _norm(graph, x, f"{name}_norm", contents, norms)
        return graph.node("Relu", [x], f"{name}_relu") if relu else x

    x = stage("conv1", x)
    x = stage("conv2", x, stride=2)
    x = stage("conv3", x, stride=2)
    for block in range(1, count_residual_blocks(contents.weights) + 1):
        y = stage(f"residual{block}_1", x)
        y = stage(f"residual{block}_2", y, relu=False)
        x = graph.node("Add", [x, y], f"residual{block}")
    blur = UP1[True] in contents.weights
    x = stage("up1", _double(graph, x, "up1"), layer=UP1[blur])
    x = _blur(graph, x) if blur else x
    x = stage("up2", _double(graph, x, "up2"))
    x = _convolution(graph, x, "conv4", contents, 1)
    return graph.node("Sigmoid", [x], "sigmoid")


def _convolution(graph: _Graph, x: str, layer: str, contents: Contents, stride: int) -> str:
    """Reflection padding and a convolution."""
    arrays = contents.weights[layer]
    side = arrays["kernel"].shape[0]
    x = _pad(graph, x, layer, side // 2, "reflect")
    kernel = _kernel(graph, layer, arrays)
    bias = graph.constant(f"{layer}.bias", arrays["bias"])
    return graph.node(
        "Conv", [x, kernel, bias], layer, kernel_shape=[side, side], strides=[stride, stride]
    )


def _kernel(graph: _Graph, layer: str, arrays: dict[str, np.ndarray]) -> str:
    """The kernel in float32, OIHW; its constant has the dtype that it is stored with."""
    kernel = arrays["kernel"].transpose(3, 2, 0, 1)
    name = f"{layer}.weight"
    if quantization.SCALE in arrays:
        stored = graph.constant(f"{name}.int8", kernel)
        scale = graph.constant(f"{name}.scale", arrays[quantization.SCALE])
        zero = graph.constant(f"{name}.zero", np.zeros(kernel.shape[0], np.int8))
        return graph.node("DequantizeLinear", [stored, scale, zero], name, axis=0)
    if kernel.dtype == np.float16:
        stored = graph.constant(f"{name}.float16", kernel)
        return graph.node("Cast", [stored], name, to=TensorProto.FLOAT)
    return graph.constant(name, kernel)


def _norm(
    graph: _Graph, x: str, name: str, contents: Contents, norms: dict[str, tuple[str, str]]
) -> str:
    if not contents.style_input:
        affine = contents.style[name]
        inputs = [x, *(graph.constant(f"{name}.{part}", affine[part]) for part in AFFINE)]
        return graph.node("InstanceNormalization", inputs, name, epsilon=EPSILON)
    channels = contents.style[name]["scale"].size
    ones = graph.constant(f"ones_{channels}", np.ones(channels, np.float32))
    zeros = graph.constant(f"zeros_{channels}", np.zeros(channels, np.float32))
    inputs = [x, ones, zeros]
    normal = graph.node("InstanceNormalization", inputs, f"{name}_normal", epsilon=EPSILON)
    scale, bias = norms[name]
    return graph.node("Add", [graph.node("Mul", [normal, scale], f"{name}_scaled"), bias], name)


def _double(graph: _Graph, x: str, name: str) -> str:
    """Nearest-neighbor x2 along height and width."""
    scales = graph.constant("double", np.array([1, 1, 2, 2], np.float32))
    return graph.node(
        "Resize",
        [x, "", scales],
        f"{name}_doubled",
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _blur(graph: _Graph, x: str) -> str:
    """Weights (1, 2, 1) / 4 along rows and columns: means of 2x2 pixels, twice."""
    x = _pad(graph, x, "blur", 1, "edge")
    for name in ("blur_half", "blur"):
        x = graph.node("AveragePool", [x], name, kernel_shape=[2, 2], strides=[1, 1])
    return x


def _pad(graph: _Graph, x: str, name: str, width: int, mode: str) -> str:
    pads = graph.integers(f"pads_{width}", 0, 0, width, width, 0, 0, width, width)
    return graph.node("Pad", [x, pads], f"{name}_padded", mode=mode)
