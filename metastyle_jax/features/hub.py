"""VGG weights from the Hugging Face hub.

The hub files have half a gigabyte. A feature network needs 30 to 60 MB, which are kept in the cache
folder. Without a network connection, users can put the hub file there as
`<architecture>-hub.safetensors`.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from metastyle_jax.errors import UserError
from metastyle_jax.features import weight_cache, weight_files
from metastyle_jax.storage import safetensors_file

REPOSITORIES = {"vgg16": "timm/vgg16.tv_in1k", "vgg19": "timm/vgg19.tv_in1k"}
FILE = "model.safetensors"

# Common style layers end here. A shallower cut would save a few megabytes, but deeper layers would
# need a second download of half a gigabyte.
_LEAST_DEPTH = "conv4_3"

_LOG = logging.getLogger(__name__)


def file_by_hand(folder: Path, architecture: str) -> Path:
    """Where a user may put the hub's file."""
    return folder / f"{architecture}-hub.safetensors"


def fetch(architecture: str, depth: str, folder: Path, *, instead: str) -> Path:
    """Download the convolutions up to `depth` into the cache.

    Args:
      architecture: a key of `REPOSITORIES`.
      depth: the deepest convolution needed.
      folder: of the cache.
      instead: alternatives for the user, for the message.

    Returns:
      The file, see `weight_cache.write`.

    Raises:
      UserError: it cannot be fetched, lacks a convolution, or the folder cannot be written.
    """
    keys = weight_files.torchvision_keys(architecture)
    names = list(keys)
    end = max(names.index(depth), names.index(_LEAST_DEPTH))
    wanted = [f"{keys[name]}.{part}" for name in names[: end + 1] for part in ("weight", "bias")]
    by_hand = file_by_hand(folder, architecture)
    # a fixed name, so that an interrupted download is continued
    downloads = folder / f"{architecture}-download"
    source = by_hand
    if not by_hand.is_file():
        source = _download(architecture, downloads, by_hand, instead)
    arrays = safetensors_file.read(source, wanted=set(wanted).__contains__)[0]
    for key in wanted:
        if key not in arrays:
            raise UserError(f"{source} cannot be used: the key {key} is missing")
    path = weight_cache.write(folder, architecture, names[end], arrays)
    shutil.rmtree(downloads, ignore_errors=True)
    return path


def _download(architecture: str, folder: Path, by_hand: Path, instead: str) -> Path:
    """The whole hub file, from the cache of the hub's library if it is there."""
    repository = REPOSITORIES[architecture]
    try:
        import huggingface_hub  # pyright: ignore[reportMissingImports]  # optional
    except ImportError as error:
        reason = "huggingface-hub is not installed (pip install 'metastyle_jax[hub]')"
        raise _unavailable(architecture, reason, by_hand, instead) from error
    try:
        cached = huggingface_hub.try_to_load_from_cache(repository, FILE)
        if isinstance(cached, str):
            return Path(cached)
        # without a connection the hub's library tries for minutes
        _LOG.info(f"downloading the {architecture} weights (half a gigabyte) from huggingface.co")
        return Path(huggingface_hub.hf_hub_download(repository, FILE, local_dir=folder))
    # no connection has many names across versions of hub and HTTP client
    except Exception as error:
        reason = f"they cannot be downloaded ({_reason(error)})"
        raise _unavailable(architecture, reason, by_hand, instead) from error


def _reason(error: Exception) -> str:
    if type(error).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled"):
        return "no connection to huggingface.co"  # the hub's own text takes three lines to say so
    return (str(error).splitlines() or [""])[0].strip().rstrip(".:")[:200] or type(error).__name__


def _unavailable(architecture: str, reason: str, by_hand: Path, instead: str) -> UserError:
    url = f"https://huggingface.co/{REPOSITORIES[architecture]}/resolve/main/{FILE}"
    return UserError(
        f"the {architecture} weights are not at hand and {reason}: {instead}, or put {url} at "
        f"{by_hand}"
    )
