"""Flags with a configuration: `--config=FILE` and overrides, with every mistake as one sentence."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import ml_collections
from absl import flags, logging
from ml_collections import config_flags

from metastyle_jax.errors import UserError


def parse_config(arguments: list[str]) -> ml_collections.ConfigDict:
    """The configuration that `--config=FILE --config.NAME=VALUE ...` describe.

    Args:
      arguments: without a program's name: what another parser has left over.

    Raises:
      UserError: an unknown setting, a wrong type, or a configuration file that is missing.
    """
    values = flags.FlagValues()
    _parse(["", *arguments], values)
    return require("--config", values["config"].value, "configs/default.py")


def require(flag: str, value: Any, example: str) -> Any:
    """The value of a flag.

    Raises:
      UserError: it is None.
    """
    if value is None:
        raise UserError(f"{flag} is missing: give, for example, {flag}={example}")
    return value


def split_list(text: str) -> list[str]:
    """The parts of "a, b(1, 2), c" between commas that no brackets enclose, without empty ones."""
    return [part.strip() for part in re.split(r",(?![^()]*\))", text) if part.strip()]


def add_settings(parser: argparse.ArgumentParser, study: type, texts: Mapping[str, str]) -> None:
    """A flag for each field of the dataclass `study`, typed by its default; tuples with commas.

    Args:
      parser: gets the flags.
      study: fields are strings, numbers, and tuples of them; those without a default are tuples of
        strings, and required.
      texts: help by name of the field.
    """
    for field in dataclasses.fields(study):
        required = field.default is dataclasses.MISSING
        default = ("",) if required else field.default
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            action=_Given,
            type=_parser_of(default),
            default=None if required else _as_typed(default),
            required=required,
            help=texts[field.name],
        )


def settings_of(args: argparse.Namespace, study: type) -> Any:
    """The dataclass `study` as the flags of `add_settings` describe it."""
    return study(**{field.name: getattr(args, field.name) for field in dataclasses.fields(study)})


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The values of those flags of `add_settings` that were typed, also where they are defaults."""
    return {name: getattr(args, name) for name in getattr(args, _GIVEN, ())}


_GIVEN = "given_flags"  # attribute of the parsed arguments: names of the flags that were typed


class _Given(argparse.Action):
    """Keeps the value of a flag, and that it was typed: defaults come without an action."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)
        setattr(namespace, _GIVEN, {*getattr(namespace, _GIVEN, ()), self.dest})


def _as_typed(default: Any) -> Any:
    """A default as one would type it, for the help; argparse reads it like what is typed."""
    return ",".join(map(str, default)) if isinstance(default, tuple) else default


def _parser_of(default: Any) -> Any:
    """How to read a flag: as its default's type; a tuple from a list with commas."""
    if not isinstance(default, tuple):
        return type(default)
    item = type(default[0])

    def values(text: str) -> tuple:
        return tuple(item(part) for part in split_list(text))

    values.__name__ = f"{item.__name__} list"  # argparse names it in its message
    return values


def _parse(argv: list[str], values: flags.FlagValues) -> None:
    """Fill `values` from the command line; the configuration among them."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Configuration file, such as configs/default.py.",
        flag_values=values,
        sys_argv=argv,  # it looks for overrides in the command line of the process otherwise
    )
    logging.set_verbosity(logging.ERROR)
    try:
        rest = values(argv)
        if values["config"].value is not None:
            values["config"].value.keys()  # a file that could not be read says so on first use
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{_one_line(error)}; python train.py --help lists all settings") from error
    except OSError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"cannot read the configuration file: {reason}") from error
    if rest[1:]:
        raise UserError(f"{rest[1]!r} is no flag: write settings as --config.name=value")


def _one_line(error: Exception) -> str:
    # a KeyError prints its argument as Python would write it; ml_collections nests one in another
    message: object = error
    while isinstance(message, KeyError) and message.args:
        message = message.args[0]
    text = str(message)
    if text[:1] in "\"'" and text[:1] == text[-1:]:
        text = text[1:-1]
    # what is left of line breaks that were written out twice
    text = text.replace("\\n", " ").replace("\\'", "'").replace('\\"', '"')
    return " ".join(text.split()).rstrip(".")
