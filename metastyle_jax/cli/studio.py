"""metastyle studio [STYLE ...]"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.cli import server_flags, style_arguments
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import sent_pictures
from metastyle_jax.errors import UserError
from metastyle_jax.storage import style_packs

_LOG = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Add `studio` to the commands."""
    server_flags.add(add_command(commands, "studio", run), port=7860)


def run(args: argparse.Namespace) -> None:
    """Open the page until Ctrl-C.

    Raises:
      UserError: a flag or a style cannot be used, or the extra is not installed.
    """
    server_flags.check(args)
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the studio needs Gradio: pip install 'metastyle_jax[studio]'")
    styles = style_arguments.offered(args.styles)
    _LOG.info("compiling ...")
    next(iter(styles.values())).draw(np.zeros((512, 512, 3), np.uint8))
    sent_pictures.restrict_pillow()  # Gradio opens what is sent, too
    titles = {pack.name: f"{pack.title}, {pack.artist}" for pack in style_packs.index()}
    # uploads lie in a folder of this process, which is deleted at its end
    with tempfile.TemporaryDirectory(prefix="metastyle-studio-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        # as Ctrl-C, so that the folder goes
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        _serve(args, styles, titles, Path(folder))


def _serve(args: argparse.Namespace, styles: Any, titles: dict[str, str], folder: Path) -> None:
    from metastyle_jax.studio import page, work

    blocks = page.make(styles, titles, folder, work.Limits(args.max_pixels))
    try:
        _, address, _ = blocks.launch(
            server_name=args.host,
            server_port=args.port or _free_port(args.host),
            max_file_size=args.max_bytes,
            theme=page.THEME,
            css=page.CSS,
            footer_links=[],
            share=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise UserError(
            f"--host={args.host} --port={args.port} cannot be listened on: use another port, or 0 "
            "for any free one"
        ) from error
    _LOG.info(f"{len(styles)} styles on {address}")
    blocks.block_thread()


def _free_port(host: str) -> int:
    with socket.create_server((host, 0), family=_family(host)) as probe:
        return probe.getsockname()[1]


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
