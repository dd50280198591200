"""onnxruntime-web, which runs ONNX files in browsers: taken from its npm package."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import logging
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import NamedTuple

from metastyle_jax.errors import UserError
from metastyle_jax.storage import cache_folder
from metastyle_jax.storage.atomic import atomic_path

_LOG = logging.getLogger(__name__)

VERSION = "1.30.0"
# as the registry gives it: `npm view onnxruntime-web@1.30.0 dist.integrity`
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
REGISTRY = "https://registry.npmjs.org"
LOADER, SCRIPT, WASM = (
    "ort-wasm-simd-threaded.mjs",
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.wasm",
)
SECONDS = 60  # without an answer of the registry


class Runtime(NamedTuple):
    """The parts of the package that a page needs.

    Attributes:
      version: of the package.
      files: contents of `SCRIPT`, `LOADER` and `WASM`, by name.
    """

    version: str
    files: dict[str, bytes]


def load(package: Path | None = None) -> Runtime:
    """Read the package; without a file download `VERSION`, or take it from the cache folder.

    A download has the digest `SHA512`, or is refused. The environment variable
    NPM_CONFIG_REGISTRY names another registry.

    Args:
      package: file that `npm pack onnxruntime-web` wrote, of any version; None for `VERSION`.

    Raises:
      UserError: the file cannot be read or is another one; or the download failed.
    """
    return _read(_downloaded() if package is None else package)


def _read(package: Path) -> Runtime:
    try:
        with tarfile.open(package) as tar:
            about = json.loads(_member(tar, "package.json"))
            names = (SCRIPT, LOADER, WASM)
            return Runtime(about["version"], {name: _member(tar, f"dist/{name}") for name in names})
    except FileNotFoundError as error:
        raise UserError(f"--runtime: there is no file {package}") from error
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError, zlib.error) as error:
        raise UserError(
            f"{package} is no whole package of onnxruntime-web: make one with "
            f"npm pack onnxruntime-web@{VERSION}"
        ) from error


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(f"package/{name}")
    if file is None:
        raise KeyError(name)
    return file.read()


def _downloaded() -> Path:
    """The package in the cache folder."""
    kept = cache_folder.default_folder() / f"onnxruntime-web-{VERSION}.tgz"
    if kept.is_file() and _digest(kept.read_bytes()) == SHA512:
        return kept
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
    url = f"{registry}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    _LOG.info(f"downloading onnxruntime-web {VERSION}, 33 MB, from {registry} ...")
    remedy = f"run npm pack onnxruntime-web@{VERSION} elsewhere, and give --runtime=FILE"
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            data = answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"cannot download {url}: {reason}; {remedy}") from error
    if _digest(data) != SHA512:
        raise UserError(f"{url} is another file than onnxruntime-web {VERSION}: {remedy}")
    with atomic_path(kept) as temporary:
        temporary.write_bytes(data)
    return kept


def _digest(data: bytes) -> str:
    return base64.b64encode(hashlib.sha512(data).digest()).decode()
