"""Imports point downward only: the layers of docs/architecture.md, checked in the source."""

from __future__ import annotations

import ast
import itertools
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
    ("export", "video", "serving"),
    ("training", "adaptation", "pixels"),
    ("evaluation", "studio"),
    ("studies",),
    ("cli",),
    ("__main__",),
    ("train.py", "adapt.py"),
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
    return [path for path in entry_points if path.exists()] + sorted((ROOT / PACKAGE).rglob("*.py"))


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


def is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path):
    here = unit(path)
    if not here:
        tree = ast.parse(path.read_text())
        tree.body = [node for node in tree.body if not is_for_type_checkers(node)]
        lines = [ast.unparse(node) for node in ast.walk(tree) if is_import(node)]
        assert [line for line in lines if PACKAGE in line] == [], "public names are loaded lazily"
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


def public_names(package: Path) -> list[str]:
    """`__all__` of a package, read from the source of its `__init__`."""
    for node in ast.parse((package / "__init__.py").read_text()).body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return ast.literal_eval(node.value)
    raise AssertionError(f"{package.relative_to(ROOT)}/__init__.py has no __all__")


def not_public(name: str, here: str) -> bool:
    """Whether a dotted name reaches into another package than `here` past its public names."""
    parts = name.split(".")
    if parts[0] != PACKAGE or len(parts) < 3 or parts[1] == here:
        return False
    package = ROOT / PACKAGE
    for parent, child in itertools.pairwise(parts[1:]):
        package /= parent
        if not package.is_dir():  # the rest are names of a module
            return False
        if child not in public_names(package):
            return True
    return False


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_are_reached_by_their_public_names_only(path):
    for line, name in imports(path):
        assert not not_public(name, unit(path)), (
            f"{path.relative_to(ROOT)}:{line} imports {name}: list it in the package's __all__, or "
            "use a name that is listed"
        )


def private_names(path: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of every name with a leading underscore that is taken from another module."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            modules |= {alias.asname or alias.name for alias in node.names}
            for alias in node.names:
                if is_private(alias.name):
                    yield node.lineno, alias.name
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                if name in modules and is_private(attribute):
                    yield node.lineno, f"{name}.{attribute}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_nobody_uses_a_private_name_of_another_module():
    folders = [ROOT / name for name in ("benchmarks", "scripts")]
    others = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    uses = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sources() + others
        for line, name in private_names(path)
    ]
    assert uses == []


def test_the_rules_on_names_see_what_they_forbid(tmp_path):
    assert not_public("metastyle_jax.storage.versions", "cli")
    assert not_public("metastyle_jax.features.training.student", "cli")
    assert not not_public("metastyle_jax.features.training.distillation.train_features", "cli")
    assert not not_public("metastyle_jax.storage.versions", "storage")
    path = tmp_path / "module.py"
    path.write_text("from metastyle_jax.storage import atomic\natomic._flush(1)\natomic.x\n")
    assert list(private_names(path)) == [(2, "atomic._flush")]
    path.write_text("from metastyle_jax.storage.atomic import _flush\n")
    assert list(private_names(path)) == [(1, "_flush")]


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
