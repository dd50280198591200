"""Stylize a picture with an exported program, without this package.

It needs jax, flatbuffers (which jax.export reads programs with) and Pillow.

metastyle export pack:starry_night --format=stablehlo --out=out/starry_night
python examples/stylize_with_jax_only.py out/starry_night/program.jax PHOTO.jpg STYLIZED.png
"""

import sys
from pathlib import Path

import jax
import jax.export
import numpy as np
from PIL import Image

program, source, target = sys.argv[1:]
stylize = jax.export.deserialize(bytearray(Path(program).read_bytes())).call
photo = np.asarray(Image.open(source).convert("RGB"), np.float32) / 255
stylized = np.asarray(jax.jit(stylize)(photo[None]))[0]
Image.fromarray(np.round(255 * stylized).astype(np.uint8)).save(target)
