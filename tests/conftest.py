"""A strict session: virtual devices, no implicit rank or dtype promotion, no old programs."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from processes import quick_xla_flags

# read when jax starts its backend, hence before the import; what the user sets comes last and wins
_DEVICES = "--xla_force_host_platform_device_count=4"
os.environ["XLA_FLAGS"] = " ".join((_DEVICES, quick_xla_flags(), os.environ.get("XLA_FLAGS", "")))
# every test compiles what it runs, in processes of its own too: a program kept from an earlier
# version could hide a defect
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
# nor does anything else that this machine keeps change a test
_CACHE = tempfile.TemporaryDirectory(prefix="metastyle_tests_")
os.environ["METASTYLE_CACHE"] = _CACHE.name
# tests that import onnxruntime themselves report nothing either
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import jax  # noqa: E402
import pytest  # noqa: E402

from metastyle_jax.cli.terminal import hide_log, show_log  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# without expensive optimizations of machine code compiling takes a third of the time. The programs
# are the same; their code is slower, but they are tiny. `test_commands` runs the first commands of
# the README with all optimizations, as users do
jax.config.update("jax_disable_most_optimizations", True)


# the longest files, each of which one process runs: begun last, one would run while the other waits
_FIRST = (
    "test_training",
    "test_commands",
    "test_outer_loss",
    "test_bilevel",
    "test_memory_plan",
    "test_inner_options",
    "test_meta_gradient_study",
    "test_feature_training",
    "test_evaluate_command",
    "test_sharding",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests against PyTorch get the mark by which `.ci/run` chooses them; long files go first."""
    for item in items:
        if "torch_reference" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.torch)
    rank = {name: number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


_compiled: list[str] = []


@pytest.fixture(scope="session", autouse=True)
def _count_programs() -> None:
    """JAX reports every program that it compiles; a listener stays for the whole session."""

    def listen(event: str, seconds: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            _compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)


@pytest.fixture
def programs() -> Callable[[], int]:
    """How many programs were compiled since the test began."""
    start = len(_compiled)
    return lambda: len(_compiled) - start


@pytest.fixture(autouse=True)
def terminal(request: pytest.FixtureRequest) -> Iterator[None]:
    """What is logged is printed, as by the commands; a test with `caplog` reads the records."""
    if "caplog" in request.fixturenames:
        yield
        return
    show_log()
    yield
    hide_log()


@pytest.fixture
def float64() -> Iterator[None]:
    """64-bit numbers within the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def standard_promotion() -> Iterator[None]:
    """JAX's usual dtype promotion within the test.

    For tests of whole loops only: `optax.adam` computes float ** int32 in its bias correction,
    which the strict session refuses. Tests of the core wrap the optimizer alone, see
    `derivatives.promoting`.
    """
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of images and weights beside the repository, where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the images and weights of {folder}, which is not there")
    return folder


@pytest.fixture(scope="session")
def torch_reference() -> ModuleType:
    """The module of independent PyTorch implementations, where torch is installed."""
    pytest.importorskip("torch", reason="compares with an independent PyTorch implementation")
    return importlib.import_module("torch_reference")
