"""Flags of the commands that listen: where, and what a visitor may send."""

from __future__ import annotations

import argparse
import ipaddress
import logging

from metastyle_jax.settings.ranges import Range

_LOG = logging.getLogger(__name__)


def add(parser: argparse.ArgumentParser, *, port: int) -> None:
    """Add them; `port` is the default one."""
    parser.add_argument(
        "styles",
        nargs="*",
        metavar="STYLE",
        help="style files to offer under their names, beside the packs",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=port, help="0 for any free one")
    parser.add_argument("--max-bytes", type=int, default=20_000_000, help="of a picture")
    parser.add_argument("--max-pixels", type=int, default=16_000_000, help="of a picture")


def check(args: argparse.Namespace) -> None:
    """Check their ranges, and warn if others may reach the address.

    Raises:
      UserError: a number is out of its range.
    """
    Range(0, 65_535).check("--port", args.port)
    Range(1, 2**31).check("--max-bytes", args.max_bytes)
    Range(256, 80_000_000).check("--max-pixels", args.max_pixels)
    if not is_loopback(args.host):
        _LOG.warning(f"{args.host} may be reached by others, and nobody is asked who they are")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
