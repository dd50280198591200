"""VGG weights from the Hugging Face hub, trimmed and kept in a cache folder.

The hub files hold half a gigabyte, of which a feature network needs 30 MB. What is kept is the
convolutions, `<architecture>-<deepest convolution>.safetensors`, under torchvision's key names,
with its SHA-256 beside it, verified on each use. Where there is no network, the hub file can be
put into the same folder by hand as `<architecture>-hub.safetensors`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from metastyle_jax import safetensors_file
from metastyle_jax.atomic import atomic_path
from metastyle_jax.digest import file_digest
from metastyle_jax.errors import UserError

HUB_REPOSITORIES = {"vgg16": "timm/vgg16.tv_in1k", "vgg19": "timm/vgg19.tv_in1k"}
HUB_FILE = "model.safetensors"

# The style layers in common use end here. Trimming less deep would save a few megabytes, and cost
# a second download of half a gigabyte when they are asked for next.
_LEAST_DEPTH = "conv4_3"


def default_cache_dir() -> Path:
    """`$METASTYLE_CACHE`, else `$XDG_CACHE_HOME/metastyle_jax`, else `~/.cache/metastyle_jax`."""
    if folder := os.environ.get("METASTYLE_CACHE"):
        return Path(folder).expanduser()
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder).expanduser() / "metastyle_jax"
    return Path.home() / ".cache" / "metastyle_jax"


def cached_file(
    architecture: str, keys: Mapping[str, str], depth: str, cache_dir: str | Path | None = None
) -> Path:
    """A verified local file with the convolutions up to `depth`, fetched if there is none.

    Args:
      architecture: a key of `HUB_REPOSITORIES`.
      keys: torchvision key of each convolution, in order: `{"conv1_1": "features.0", ...}`.
      depth: the deepest convolution needed; a cached file that goes deeper will do.
      cache_dir: the cache folder; None is `default_cache_dir()`.

    Raises:
      UserError: the cached file is not what was written, or there is none and it cannot be
        fetched, or the cache folder cannot be written.
    """
    folder = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
    names = list(keys)
    for name in names[names.index(depth) :]:
        path = folder / f"{architecture}-{name}.safetensors"
        if path.is_file():
            _verify(path)
            return path
    end = max(names.index(depth), names.index(_LEAST_DEPTH))
    path = folder / f"{architecture}-{names[end]}.safetensors"
    wanted = [f"{keys[name]}.{part}" for name in names[: end + 1] for part in ("weight", "bias")]
    by_hand = folder / f"{architecture}-hub.safetensors"
    if by_hand.is_file():
        _trim(by_hand, path, wanted)
        return path
    # a fixed name, so that an interrupted download is continued
    downloads = folder / f"{architecture}-download"
    _trim(_download(architecture, downloads, by_hand), path, wanted)
    shutil.rmtree(downloads, ignore_errors=True)
    return path


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _verify(path: Path) -> None:
    try:
        recorded = _sidecar(path).read_text().split()[0]
    except (OSError, ValueError, IndexError):
        recorded = ""
    if file_digest(path) != recorded:
        raise UserError(
            f"{path} does not have the SHA-256 recorded in {_sidecar(path).name}: delete both "
            "files, and it will be fetched again"
        )


def _trim(source: Path, path: Path, wanted: list[str]) -> None:
    """Copy the wanted arrays; the sidecar comes first, so that no file is ever without one."""
    arrays = safetensors_file.read(source, wanted=set(wanted).__contains__)[0]
    for key in wanted:
        if key not in arrays:
            raise UserError(f"{source} cannot be used: the key {key} is missing")
    with atomic_path(path) as temporary:
        safetensors_file.write(temporary, arrays)
        digest = file_digest(temporary)
        with atomic_path(_sidecar(path)) as sidecar:
            sidecar.write_text(f"{digest}  {path.name}\n")


def _download(architecture: str, folder: Path, by_hand: Path) -> Path:
    """The whole hub file, from the hub's own cache if some other program has fetched it already."""
    repository = HUB_REPOSITORIES[architecture]
    try:
        import huggingface_hub
    except ImportError as error:
        reason = "huggingface-hub is not installed (pip install 'metastyle_jax[hub]')"
        raise _unavailable(architecture, reason, by_hand) from error
    try:
        cached = huggingface_hub.try_to_load_from_cache(repository, HUB_FILE)
        if isinstance(cached, str):
            return Path(cached)
        return Path(huggingface_hub.hf_hub_download(repository, HUB_FILE, local_dir=folder))
    except (
        Exception
    ) as error:  # no connection has many names across versions of hub and HTTP client
        reason = f"they cannot be downloaded ({_reason(error)})"
        raise _unavailable(architecture, reason, by_hand) from error


def _reason(error: Exception) -> str:
    if type(error).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled"):
        return "no connection to huggingface.co"  # the hub's own text takes three lines to say so
    return (str(error).splitlines() or [""])[0].strip().rstrip(".:")[:200] or type(error).__name__


def _unavailable(architecture: str, reason: str, by_hand: Path) -> UserError:
    url = f"https://huggingface.co/{HUB_REPOSITORIES[architecture]}/resolve/main/{HUB_FILE}"
    return UserError(
        f"the {architecture} weights are not cached and {reason}: put the file {url} at {by_hand}, "
        f"or give any such file as --features={architecture}:FILE; --features=compact needs nothing"
    )
