"""The stylization network as StableHLO: by `jax.export`, and as a portable artifact.

Both take any number of pictures of any size from 16 pixels. A folder holds

    program.jax       for `jax.export.deserialize`: one program for CPU, CUDA and TPU. JAX promises
                      that a JAX up to six months newer than that which wrote it can load it.
    program.mlirbc    the same network in plain convolutions, without custom calls, as a portable
                      artifact of StableHLO `TARGET`. OpenXLA promises five years for these.
    about.json        versions, promises, inputs and outputs, and the style's metadata.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo

from metastyle_jax.export import contents
from metastyle_jax.export.contents import Contents, Draw, Format
from metastyle_jax.networks import stylization_network
from metastyle_jax.storage import quantization

PROGRAM, PORTABLE, ABOUT = "program.jax", "program.mlirbc", "about.json"
PLATFORMS = ("cpu", "cuda", "tpu")
# the first version with long-term guarantees: every later one reads it
TARGET = "1.0.0"
PROMISE = (
    "the JAX that loads program.jax may be up to 6 months newer than this one, or 3 weeks older"
)
PORTABLE_PROMISE = (
    f"StableHLO that loads program.mlirbc may be up to 5 years newer than version {TARGET}"
)
_ASSERTION = "stablehlo.custom_call @shape_assertion"  # JAX's check of sizes; it has no result


def write(folder: Path, contents: Contents) -> None:
    """Write the three files.

    Raises:
      ValueError: the program needs a custom call, which portable artifacts cannot promise.
    """
    program = _without_places(_export(contents, PLATFORMS, rewrite=True))
    (folder / PROGRAM).write_bytes(program.serialize())
    (folder / PORTABLE).write_bytes(portable(_export(contents, PLATFORMS[:1], rewrite=False)))
    about = json.dumps(_about(contents), indent=2)
    (folder / ABOUT).write_text(f"{about}\n", encoding="utf-8")


def reload(folder: Path, contents: Contents) -> list[Draw]:
    """Both programs in the JAX that is here."""
    exported = jax.export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
    artifact = load_portable((folder / PORTABLE).read_bytes(), style_length(contents))
    return [_draw(program, contents.style_input) for program in (exported, artifact)]


def style_length(contents: Contents) -> int | None:
    """Length of the style vector that the program takes; None if the style is constant."""
    if not contents.style_input:
        return None
    return sum(affine["scale"].size * 2 for affine in contents.style.values())


def portable(exported: jax.export.Exported) -> bytes:
    """A portable artifact, of StableHLO `TARGET`, of a program for one platform.

    Args:
      exported: its sizes may be symbolic. JAX's checks of them are left out, because they are
        custom calls.

    Raises:
      ValueError: there are other custom calls.
    """
    lines = [line for line in _text(exported).splitlines() if _ASSERTION not in line]
    text = "\n".join(lines)
    if "custom_call" in text:
        raise ValueError("the program has custom calls, which no portable artifact can promise")
    return stablehlo.serialize_portable_artifact_str(text, TARGET)


def load_portable(artifact: bytes, style_length: int | None = None) -> jax.export.Exported:
    """A portable artifact of a network as a program that JAX can call.

    Args:
      artifact: what `portable` returned.
      style_length: of its style input, see `style_length`; None if it has none.
    """
    # JAX calls programs that it exported: one of the same inputs and outputs lends its signature
    images, *styles = _inputs(style_length)
    shell = jax.export.export(jax.jit(lambda images, *styles: images), platforms=PLATFORMS[:1])
    kept = tuple(range(1 + len(styles)))
    return dataclasses.replace(
        shell(images, *styles), mlir_module_serialized=artifact, module_kept_var_idx=kept
    )


def _export(written: Contents, platforms: tuple[str, ...], *, rewrite: bool) -> jax.export.Exported:
    def stylize(images: jax.Array, *vectors: jax.Array) -> jax.Array:
        weights = _restore(written.weights)
        style = contents.styles_of(vectors[0], written.style) if vectors else written.style
        return stylization_network.stylize(weights, style, images, rewrite=rewrite)

    return jax.export.export(jax.jit(stylize), platforms=platforms)(*_inputs(style_length(written)))


def _without_places(exported: jax.export.Exported) -> jax.export.Exported:
    """The program without the names of the source files, which tell where they lie here."""
    requirement = stablehlo.StablehloCompatibilityRequirement.WEEK_4  # that of `jax.export`
    version = stablehlo.get_version_from_compatibility_requirement(requirement)
    module = stablehlo.serialize_portable_artifact_str(_text(exported), version)
    return dataclasses.replace(exported, mlir_module_serialized=module)


def _text(exported: jax.export.Exported) -> str:
    with ir.Context() as context:
        stablehlo.register_dialect(context)
        module = stablehlo.deserialize_portable_artifact(context, exported.mlir_module_serialized)
        return str(module.operation.get_asm(enable_debug_info=False))


def _restore(stored: quantization.Layers) -> dict[str, dict[str, jax.Array]]:
    """`quantization.restore` within the program, so that its constants keep their dtypes."""
    restored = {}
    for name, layer in stored.items():
        kernel = jnp.asarray(layer["kernel"]).astype(jnp.float32)
        if quantization.SCALE in layer:
            kernel = kernel * jnp.asarray(layer[quantization.SCALE])[None, None, None]
        restored[name] = {"kernel": kernel, "bias": jnp.asarray(layer["bias"])}
    return restored


def _inputs(style_length: int | None) -> list[jax.ShapeDtypeStruct]:
    smallest = stylization_network.MINIMUM_SIZE
    constraints = (f"height >= {smallest}", f"width >= {smallest}")
    count, height, width = jax.export.symbolic_shape(
        "count, height, width", constraints=constraints
    )
    inputs = [jax.ShapeDtypeStruct((count, height, width, 3), jnp.float32)]
    if style_length:
        inputs.append(jax.ShapeDtypeStruct((count, style_length), jnp.float32))
    return inputs


def _draw(program: jax.export.Exported, style_input: bool) -> Draw:
    call: Callable[..., Any] = jax.jit(program.call)

    def draw(images: np.ndarray, styles: np.ndarray) -> jax.Array:
        return call(jnp.asarray(images), *([jnp.asarray(styles)] if style_input else []))

    return draw


def _about(contents: Contents) -> dict[str, Any]:
    inputs = {"images": "(count, height, width, 3) float32 RGB in [0, 1], 16 pixels or more"}
    if length := style_length(contents):
        inputs["styles"] = f"(count, {length}) float32, in the order of style_order"
    return {
        "inputs": inputs,
        "output": "(count, height, width, 3) float32 in [0, 1]",
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "platforms": PLATFORMS,
        PROGRAM: PROMISE,
        "stablehlo": stablehlo.get_current_version(),
        "stablehlo_target": TARGET,
        PORTABLE: PORTABLE_PROMISE,
        **contents.metadata,
    }


FORMAT = Format(
    write,
    reload,
    is_folder=True,
    style_input=True,
    note=f"written with JAX {jax.__version__}: {PROMISE}; {PORTABLE_PROMISE}",
)
