"""Write the programs of tests/export/artifacts: a tiny network by the JAX that is installed.

    python tests/export/make_artifacts.py

Run it with the oldest JAX that is supported, and commit what it writes: the test that loads them
then shows that a newer JAX draws the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "artifacts"
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER.parents[2])]

import jax  # noqa: E402

import tiny  # noqa: E402
from metastyle_jax.export import contents, stablehlo_folder  # noqa: E402
from metastyle_jax.stylization.stylizer import Record, Stylizer  # noqa: E402


def main() -> None:
    params = tiny.parameters(0, width=1, residual_blocks=0, blur=True)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)
    stylizer = Stylizer(params["weights"], params["style"], record=Record("tiny"))
    written = contents.gather(stylizer, "float16", style_input=True)
    FOLDER.mkdir(exist_ok=True)
    stablehlo_folder.write(FOLDER, written)
    random = np.random.default_rng(1)
    images = random.random((2, 17, 22, 3), np.float32)
    vector = contents.style_vector(written.style)
    styles = np.stack([vector, 0.5 * vector])
    outputs = [draw(images, styles) for draw in stablehlo_folder.reload(FOLDER, written)]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)
    np.savez(FOLDER / "expected.npz", images=images, styles=styles, outputs=outputs[0])
    for path in sorted(FOLDER.iterdir()):
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
