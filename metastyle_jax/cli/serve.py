"""metastyle serve [STYLE ...]"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import signal
import socket
from typing import Any

import jax
import numpy as np

from metastyle_jax.cli import server_flags, style_arguments
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.errors import UserError
from metastyle_jax.settings.ranges import Range
from metastyle_jax.storage import style_packs
from metastyle_jax.stylization import small_pictures

# sides of pictures that are drawn at the start, so that no request waits for a compiler: small ones
# and all others have programs of their own
_WARM = (64, 512)
_BATCH = 8  # beside a CPU
_SECONDS = "to read a request and answer it; then as many to take the answer"
_LOG = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Add `serve` to the commands."""
    parser = add_command(commands, "serve", run)
    server_flags.add(parser, port=8000)
    parser.add_argument("--waiting", type=int, default=16, help="requests that may wait")
    parser.add_argument("--seconds", type=float, default=60.0, help=_SECONDS)
    parser.add_argument(
        "--batch",
        type=int,
        default=None,
        help=f"pictures of up to {small_pictures.SIDES[-1]} px that are drawn together; default: "
        f"{_BATCH} on a GPU or TPU, 1 on a CPU",
    )


def run(args: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM; requests that were taken are answered first.

    Raises:
      UserError: a flag or a style cannot be used, or the extra is not installed.
    """
    server_flags.check(args)
    Range(0, 10_000).check("--waiting", args.waiting)
    Range(0.1, 3600).check("--seconds", args.seconds)
    if args.batch is None:
        args.batch = 1 if jax.default_backend() == "cpu" else _BATCH
    Range(1, 64).check("--batch", args.batch)
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
        raise UserError("serving needs FastAPI and Uvicorn: pip install 'metastyle_jax[serve]'")
    import uvicorn

    from metastyle_jax.serving import application, connections, requests
    from metastyle_jax.serving.gathering import Gathering

    styles = style_arguments.offered(args.styles)
    requests.check_names(styles)
    _LOG.info("compiling ...")
    first = next(iter(styles.values()))
    for side in _WARM:
        first.draw(np.zeros((side, side, 3), np.uint8))
    gathering = Gathering(args.batch) if args.batch > 1 else None
    if gathering:
        gathering.compile(first.weights, first.style)
    limits = application.Limits(args.max_bytes, args.max_pixels, args.waiting, args.seconds)
    about = {
        pack.name: {"title": pack.title, "artist": pack.artist, "year": pack.year}
        for pack in style_packs.index()
    }
    listening = _listen(args.host, args.port)
    most = args.waiting + (gathering.threads if gathering else 1) + 64
    server = uvicorn.Config(
        application.make(styles, about, limits, gathering),
        log_level="warning",
        timeout_graceful_shutdown=int(args.seconds) + 1,
        http=connections.limited(most, args.seconds),
        h11_max_incomplete_event_size=65_536,
    )
    address = f"[{args.host}]" if ":" in args.host else args.host
    port = listening.getsockname()[1]
    _LOG.info(f"{len(styles)} styles on http://{address}:{port}, described at /openapi.json")
    # Uvicorn handles it, and raises it once more at the end, which would look like a crash
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    with listening:
        uvicorn.Server(server).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"--host={host} --port={port} cannot be listened on ({error.strerror}): use another "
            "port, or 0 for any free one"
        ) from error
