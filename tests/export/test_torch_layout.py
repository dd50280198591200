"""The state dict in a PyTorch module of the usual layout, written here from the paper."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import safetensors.numpy

import export_case
from metastyle_jax.export import exporting


def usual_network(torch, width: int, blocks: int, blur: bool):
    """Johnson et al. 2016 with the module names of PyTorch's example; (N, 3, H, W), 0 ... 255."""
    nn, F = torch.nn, torch.nn.functional

    class Conv(nn.Module):
        def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
            super().__init__()
            self.conv2d = nn.Conv2d(inputs, outputs, size, stride)

        def forward(self, x):
            return self.conv2d(F.pad(x, (self.conv2d.kernel_size[0] // 2,) * 4, mode="reflect"))

    def norm(channels: int) -> nn.Module:
        return nn.InstanceNorm2d(channels, affine=True)

    class Residual(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv1, self.conv2 = Conv(channels, channels, 3), Conv(channels, channels, 3)
            self.in1, self.in2 = norm(channels), norm(channels)

        def forward(self, x):
            return x + self.in2(self.conv2(self.in1(self.conv1(x)).relu()))

    class Usual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.in1 = Conv(3, width, 9), norm(width)
            self.conv2, self.in2 = Conv(width, 2 * width, 3, 2), norm(2 * width)
            self.conv3, self.in3 = Conv(2 * width, 4 * width, 3, 2), norm(4 * width)
            for block in range(1, blocks + 1):
                self.add_module(f"res{block}", Residual(4 * width))
            self.deconv1, self.in4 = Conv(4 * width, 2 * width, 3), norm(2 * width)
            self.deconv2, self.in5 = Conv(2 * width, width, 3), norm(width)
            self.deconv3 = Conv(width, 3, 9)

        def forward(self, x):
            height, width = x.shape[2:]
            x = F.pad(x, (0, -width % 4, 0, -height % 4), mode="reflect")
            x = self.in1(self.conv1(x)).relu()
            x = self.in2(self.conv2(x)).relu()
            x = self.in3(self.conv3(x)).relu()
            for block in range(1, blocks + 1):
                x = getattr(self, f"res{block}")(x)
            x = self.in4(self.deconv1(F.interpolate(x, scale_factor=2))).relu()
            if blur:  # as the metadata say
                x = F.pad(x, (1, 1, 1, 1), "replicate")
                x = F.avg_pool2d(F.avg_pool2d(x, 2, stride=1), 2, stride=1)
            x = self.in5(self.deconv2(F.interpolate(x, scale_factor=2))).relu()
            return 255 * self.deconv3(x).sigmoid()[:, :, :height, :width]

    return Usual()


@pytest.mark.parametrize("blur, quantize", [(True, None), (False, "float16")])
def test_it_loads_into_the_usual_network(torch_reference, tmp_path, blur, quantize):
    torch = torch_reference.torch
    stylizer = export_case.stylizer(blur=blur)
    path = tmp_path / "a.safetensors"
    exported = exporting.export_stylizer(stylizer, path, "torch", quantize=quantize)
    arrays = safetensors.numpy.load_file(path)
    network = usual_network(torch, width=4, blocks=2, blur=blur)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    network.load_state_dict(tensors, strict=True)
    image = np.random.default_rng(0).random((37, 53, 3), np.float32)
    with torch.no_grad():
        drawn = network(torch.from_numpy(255 * image).permute(2, 0, 1)[None])
    expected = np.asarray(dataclasses.replace(stylizer, input_noise=0.0)(image))
    difference = np.abs(drawn[0].permute(1, 2, 0).numpy() / 255 - expected).max()
    assert difference < exported.differences.largest_by_rounding + (5e-3 if quantize else 2e-5)


def test_metadata_say_what_the_usual_network_lacks(tmp_path):
    for blur in (False, True):
        path = tmp_path / f"{blur}.safetensors"
        exporting.export_stylizer(export_case.stylizer(blur=blur), path, "torch")
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata()
        assert metadata["output"] == "255 * sigmoid(output of deconv3)"
        assert ("avg_pool2d" in metadata["blur"]) == blur
        assert metadata["input"].startswith("RGB 0 ... 255")
