"""Imports point downward only: the layers of docs/architecture.md, checked in the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "metastyle_jax"

# lowest first; a module imports only from lower rows, and within its own package
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("networks", "bilevel"),
    ("losses",),
    ("metalearning",),
    ("storage",),
    ("data",),
    ("reporting",),
    ("runtime",),
    ("settings",),
    ("features",),
    ("stylization",),
    ("training", "adaptation", "pixels"),
    ("evaluation",),
    ("studies",),
    ("cli",),
    ("__main__", "train.py", "adapt.py"),
)
LEVELS = {package: level for level, row in enumerate(LAYERS) for package in row}

# pure functions: the packages of this project that they may import, and nothing of the world
PURE: dict[str, set[str]] = {
    "networks": set(),
    "bilevel": set(),
    "losses": {"networks"},
    "metalearning": {"bilevel", "losses", "networks"},
}
WORLD = {"os", "sys", "pathlib", "io", "time", "datetime", "logging", "argparse", "absl"}
WORLD |= {"ml_collections", "random", "tensorboardX", "orbax", "grain", "PIL", "safetensors"}


def sources() -> list[Path]:
    entry_points = [ROOT / "train.py", ROOT / "adapt.py"]
    found = [path for path in entry_points if path.exists()]
    return found + sorted((ROOT / PACKAGE).rglob("*.py"))


def unit(path: Path) -> str:
    """The entry of the table that a file belongs to; "" for the package's own `__init__`."""
    if path.parent == ROOT:
        return path.name
    first = path.relative_to(ROOT / PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import; write it out"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def project_imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, entry of the table) of every import from this project; "" for the package itself."""
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] in ("train", "adapt"):
            yield line, f"{parts[0]}.py"
        elif parts[0] == PACKAGE:
            target = parts[1] if len(parts) > 1 else ""
            is_module = (ROOT / PACKAGE / target).is_dir() or (
                ROOT / PACKAGE / f"{target}.py"
            ).exists()
            # otherwise a name of `__init__`, such as `__version__`
            yield line, target if is_module else ""


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path):
    here = unit(path)
    if not here:
        assert list(project_imports(path)) == [], "the package's __init__ imports nothing"
        return
    assert here in LEVELS, f"{path} has no layer yet: place {here!r} in LAYERS of {__file__}"
    for line, target in project_imports(path):
        if target in ("", here):
            continue
        assert target in LEVELS, f"{target!r} has no layer yet: place it in LAYERS of {__file__}"
        assert LEVELS[target] < LEVELS[here], (
            f"{path.relative_to(ROOT)}:{line} imports {target}, which is not below {here}"
        )


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_import_nothing_of_the_world(package):
    paths = sorted((ROOT / PACKAGE / package).rglob("*.py"))
    assert paths
    for path in paths:
        assert {target for _, target in project_imports(path)} <= PURE[package] | {package}
        touched = {name.split(".")[0] for _, name in imports(path)} & WORLD
        assert not touched, f"{path} is made of pure functions and imports {touched}"


def test_every_package_has_its_row_and_every_row_its_package():
    assert set(LEVELS) == {unit(path) for path in sources()} - {""}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from metastyle_jax import bilevel, losses", ["bilevel", "losses"]),
        ("import metastyle_jax.training as t", ["training"]),
        ("def f():\n    from metastyle_jax.data.images import write_png", ["data"]),
        ("from metastyle_jax import __version__\nimport jax", [""]),
        ("from train import main", ["train.py"]),
    ],
)
def test_the_walk_sees_every_form_of_import(tmp_path, source, expected):
    path = tmp_path / "module.py"
    path.write_text(source)
    assert [target for _, target in project_imports(path)] == expected
