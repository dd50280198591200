"""The documents name files that exist, and draw the layers that `test_layers.py` checks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_layers import LAYERS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "metastyle_jax"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
DOCUMENTS = [
    ROOT / "README.md",
    PACKAGE / "assets" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
TOP = "metastyle_jax|configs|benchmarks|scripts|docs|tests"
# a path below the root of the repository; not part of a longer path such as ~/.cache/metastyle_jax
PATH = re.compile(rf"(?<![\w/.~-])(?:{TOP})/[\w./-]*\w/?")
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
# a module or a folder of modules, as architecture.md names them: `networks/vgg.py`, `data/`
MODULE = re.compile(r"`((?:\w+/)*\w+\.(?:py|csv)|(?:\w+/)+)`")


def missing(document: Path, text: str) -> Iterator[str]:
    """Paths and links of a document that lead nowhere."""
    for path in PATH.findall(text):
        if not (ROOT / path).exists():
            yield path
    for link in LINK.findall(text):
        if "://" not in link and not (document.parent / link).exists():
            yield link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_files_that_exist(document):
    assert list(missing(document, document.read_text(encoding="utf-8"))) == []


def test_source_and_configurations_name_documents_that_exist():
    lost = {}
    for folder in ("metastyle_jax", "configs", "benchmarks", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            names = re.findall(r"docs/[\w/]+\.md", path.read_text(encoding="utf-8"))
            lost |= {str(path): name for name in names if not (ROOT / name).exists()}
    assert lost == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see metastyle_jax/networks/nowhere.py.", ["metastyle_jax/networks/nowhere.py"]),
        ("--config=configs/nowhere.py", ["configs/nowhere.py"]),
        ("[page](results/nowhere.md)", ["results/nowhere.md"]),
        ("`benchmarks/memory.py`, ~/.cache/metastyle_jax/xla", []),
        ("[a](results/README.md#speed), [b](https://arxiv.org/abs/1812.05233)", []),
    ],
)
def test_a_path_that_leads_nowhere_is_seen(text, expected):
    assert list(missing(ARCHITECTURE, text)) == expected


def test_architecture_names_modules_that_exist():
    names = MODULE.findall(ARCHITECTURE.read_text(encoding="utf-8"))
    assert len(names) > 50
    lost = [name for name in names if not ((PACKAGE / name).exists() or (ROOT / name).exists())]
    assert lost == []


def test_the_change_log_gives_new_names_that_exist():
    """Rows of the migration table: | `old` | `new` |."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/]+\.py)` \| `([\w/]+\.py)` \|$", text, re.MULTILINE)
    assert len(rows) > 50
    assert [new for _, new in rows if not (PACKAGE / new).exists()] == []


def test_architecture_draws_the_layers():
    """One row a line, the highest first; a description follows after two spaces or more."""
    _, diagram, *_ = ARCHITECTURE.read_text(encoding="utf-8").split("```")
    known = {unit for row in LAYERS for unit in row}
    drawn = []
    for line in diagram.strip().splitlines():
        drawn.append(tuple(word for word in re.split(r"\s{2,}", line) if word in known))
    assert [set(row) for row in reversed(drawn)] == [set(row) for row in LAYERS]
