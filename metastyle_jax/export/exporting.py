"""Exporting a stylizer: write, read back, compare with `stylize`, and only then keep the file."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

from metastyle_jax.errors import UserError
from metastyle_jax.export import comparison, contents
from metastyle_jax.export.comparison import Differences
from metastyle_jax.export.contents import Contents, Format
from metastyle_jax.settings import provenance
from metastyle_jax.storage import home_folder, overwriting, quantization, style_packs
from metastyle_jax.storage.atomic import atomic_folder, atomic_path
from metastyle_jax.stylization.stylizer import Record, Stylizer


def _onnx() -> Format:
    _require("onnx", "onnxruntime")
    from metastyle_jax.export import onnx_file

    return onnx_file.FORMAT


def _stablehlo() -> Format:
    _require("flatbuffers")  # with which JAX writes and reads exported programs
    from metastyle_jax.export import stablehlo_folder

    return stablehlo_folder.FORMAT


def _torch() -> Format:
    from metastyle_jax.export import torch_layout

    return torch_layout.FORMAT


def _safetensors() -> Format:
    from metastyle_jax.export import array_files

    return array_files.SAFETENSORS


def _orbax() -> Format:
    from metastyle_jax.export import array_files

    return array_files.ORBAX


def _npz() -> Format:
    from metastyle_jax.export import array_files

    return array_files.NPZ


# each is imported when it is used
FORMATS: dict[str, Callable[[], Format]] = {
    "onnx": _onnx,
    "stablehlo": _stablehlo,
    "torch": _torch,
    "safetensors": _safetensors,
    "orbax": _orbax,
    "npz": _npz,
}
WEB = "web"  # a folder of several styles, see `web_page`


@dataclasses.dataclass(frozen=True)
class Exported:
    """An export that was compared and kept.

    Attributes:
      path: the file or folder.
      size: bytes of all its files.
      differences: from `stylize`.
      notes: sentences on what is in it, and what is not.
    """

    path: Path
    size: int
    differences: Differences
    notes: Sequence[str]


def export_stylizer(
    stylizer: Stylizer,
    path: str | os.PathLike[str],
    format: str = "onnx",
    *,
    style_input: bool = False,
    quantize: str | None = None,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Exported:
    """Write a stylizer for another program, and compare what was written with `stylize`.

    Args:
      stylizer: what `load` and `adapt` return. One with sliders is written with all weights of the
        layers at 1; `stylizer.at(alpha)` has others.
      path: file to write; for "stablehlo" and "orbax" a folder that is new or empty. It appears
        whole and compared, or not at all.
      format: "onnx", "stablehlo", "torch", "safetensors", "orbax" or "npz"; see docs/export.md.
      style_input: the style is an input of the graph, so that one file serves all styles of these
        weights; "onnx" and "stablehlo" only.
      quantize: "float16" or "int8" stores smaller kernels; the arithmetic stays float32.
      inputs: files that must not be written over, beside those that the stylizer names.

    Returns:
      The file with the measured differences.

    Raises:
      UserError: an unknown format, a missing package, a combination that is impossible, a path that
        cannot be written or is an input; or the file does not draw what `stylize` draws, and is not
        kept.
    """
    target = home_folder.expanded(path)
    chosen = check(format, style_input, quantize)
    record = stylizer.record
    overwriting.refuse_overwriting([target], [*inputs, *_files(record)])
    notes = _notes(chosen, stylizer)
    if stylizer.sliders is not None:
        stylizer = stylizer.at({})
    written = _gather(stylizer, quantize, style_input)
    whole = atomic_folder if chosen.is_folder else atomic_path
    with whole(target) as temporary:
        chosen.write(temporary, written)
        draws = chosen.reload(temporary, written)
        differences, problems = comparison.compare(draws, written, stylizer.weights)
        _check(target, differences, problems)
    return Exported(target, size_of(target), differences, notes)


def check(name: str, style_input: bool = False, quantize: str | None = None) -> Format:
    """The format of that name, if it can be written with these options.

    Raises:
      UserError: an unknown format, a missing package, a combination that is impossible.
    """
    if name not in FORMATS:
        if name == WEB:
            raise UserError("a page for browsers is written by web_page.export_page")
        known = ", ".join((*FORMATS, WEB))
        raise UserError(f"there is no format {name!r}: use one of {known}")
    if quantize not in (None, *quantization.KINDS):
        kinds = ", ".join(quantization.KINDS)
        raise UserError(f"kernels cannot be stored as {quantize!r}: use one of {kinds}")
    chosen = FORMATS[name]()
    if style_input and not chosen.style_input:
        raise UserError(
            f"{name} holds arrays and no graph, so its style cannot be an input: leave "
            "--style-input out, or use onnx or stablehlo"
        )
    if quantize and quantize not in chosen.kinds:
        raise UserError(
            f"{name} cannot hold kernels in {quantize}: use one of {', '.join(chosen.kinds)}"
        )
    return chosen


def _require(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"this export needs {' and '.join(missing)}: pip install 'metastyle_jax[export]'"
        )


def _files(record: Record) -> list[Path]:
    """The files among what `load` took: of a blend that no file holds, those of its styles."""
    names = [record.name, record.weights_name]
    if not home_folder.exists(style_packs.resolve(record.name)):
        names += record.settings.get(provenance.BLEND, {})
    paths = [style_packs.resolve(name) for name in names if name]
    return [path for path in paths if home_folder.exists(path)]


def _gather(stylizer: Stylizer, quantize: str | None, style_input: bool) -> Contents:
    kind = cast(quantization.Kind, quantize or "float32")  # `check` has looked
    try:
        return contents.gather(stylizer, kind, style_input)
    except ValueError as error:
        raise UserError(f"{error}: export it without --quantize") from error


def _check(target: Path, differences: Differences, problems: Sequence[str]) -> None:
    if problems:
        raise UserError(f"{target} is not kept: read back, {problems[0]}; please report this")
    if not differences.largest <= comparison.TOLERANCE:  # nor is nan
        raise UserError(
            f"{target} is not kept: read back, its pictures differ from those of stylize by up to "
            f"{differences.largest:.2g}, more than {comparison.TOLERANCE:g}; please report this"
        )


def _notes(chosen: Format, stylizer: Stylizer) -> list[str]:
    notes = [chosen.note] if chosen.note else []
    if stylizer.input_noise:
        notes.append(
            f"the input noise of {stylizer.input_noise:g} is not in the file: it draws what "
            "stylize --noise=0 draws (docs/export.md says what to add)"
        )
    if stylizer.sliders is not None:
        notes.append(
            "the sliders of its layers are not in the file: it draws with all weights at 1; "
            "--alpha chooses others"
        )
    return notes


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
