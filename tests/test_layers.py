"""Imports point downward only: the layers of docs/architecture.md, checked in the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "metastyle_jax"

# lowest first; a module imports only from lower rows, and within its own folder
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("atomic", "digest", "versions", "compilation", "winograd", "style_packs", "ranges"),
    ("overwriting", "out_of_memory", "pace"),
    ("convolution", "losses", "inner_gradients", "content_noise", "folder_lock"),
    ("vgg", "fusion"),
    ("bilevel", "feature_network"),
    ("transformer", "objective", "subsets", "learned_rates", "predictor"),
    ("style_tasks",),
    ("meta",),
    ("outer_step",),
    # edges of the system: they may know data and pure functions, never the loops
    ("data", "parallel", "safetensors_file", "checkpoint_files", "checkpoint_match", "event_file"),
    ("checkpoint", "features", "export", "media", "run_log", "stylization"),
    ("evaluation", "initialization", "compilation_cache"),
    ("settings", "stylization_batch"),
    # the loops
    ("run_control", "training_step", "training_sheet", "training_advice", "resuming"),
    ("training", "adaptation", "planning", "image_optimization", "feature_training"),
    ("plan_report", "study", "optimization_state", "optimization_pairs"),
    ("optimization_run",),
    # flags and commands
    ("command_line",),
    ("optimize_flags",),
    ("adapt_flags", "adapt_output"),
    ("adapt_command", "study_command", "optimize_command", "balance_command", "evaluate_command"),
    ("train_features_command", "stylize_command"),
    ("cli",),
    ("__main__", "train.py", "adapt.py"),
)
LEVELS = {module: level for level, row in enumerate(LAYERS) for module in row}

# pure functions: what they may import of this project, and nothing of the world around them
PURE: dict[str, set[str]] = {
    "winograd": set(),
    "convolution": {"winograd"},
    "vgg": {"convolution"},
    "losses": set(),
    "inner_gradients": set(),
    "content_noise": set(),
    "bilevel": {"inner_gradients"},
    "transformer": {"convolution"},
    "fusion": {"losses"},
    "feature_network": {"vgg"},
    "objective": {"feature_network", "fusion", "losses"},
    "subsets": set(),
    "learned_rates": set(),
    "predictor": set(),
    "style_tasks": {"bilevel", "feature_network", "objective", "subsets", "transformer"},
    "meta": {"bilevel", "content_noise", "feature_network", "objective", "predictor"}
    | {"style_tasks", "transformer"},
    "outer_step": {"feature_network", "meta", "style_tasks", "transformer"},
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


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_nothing_of_the_world(module):
    path = ROOT / PACKAGE / f"{module}.py"
    assert {target for _, target in project_imports(path)} <= PURE[module]
    touched = {name.split(".")[0] for _, name in imports(path)} & WORLD
    assert not touched, f"{module} is made of pure functions and imports {touched}"


def test_the_table_has_no_entry_without_a_module():
    """Of what is pure: edges and loops may come and go."""
    assert set(PURE) <= {unit(path) for path in sources()}
    assert set(PURE) <= set(LEVELS)


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
    if expected == ["training"] and not (ROOT / PACKAGE / "training.py").exists():
        pytest.skip("no loops yet")
    path = tmp_path / "module.py"
    path.write_text(source)
    assert [target for _, target in project_imports(path)] == expected
