"""Flags of train.py, with every mistake as one sentence."""

from __future__ import annotations

from typing import NamedTuple

import ml_collections
from absl import flags, logging
from ml_collections import config_flags

from metastyle_jax.errors import UserError


class TrainingFlags(NamedTuple):
    """What train.py was asked to do."""

    config: ml_collections.ConfigDict
    workdir: str
    resume: bool


def parse_training(argv: list[str]) -> TrainingFlags:
    """Parse the command line of train.py.

    Args:
      argv: with the program's name first.

    Raises:
      UserError: an unknown flag or setting, a wrong type, a configuration file that is missing.
    """
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", None, "Configuration file, such as configs/default.py.", flag_values=values
    )
    flags.DEFINE_string("workdir", None, "Folder for everything written.", flag_values=values)
    flags.DEFINE_boolean(
        "resume", False, "Continue from the newest checkpoint in workdir.", flag_values=values
    )
    flags.DEFINE_boolean("help", False, "Show this help.", short_name="h", flag_values=values)
    logging.set_verbosity(logging.ERROR)
    try:
        rest = values(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{_one_line(error)}; see configs/default.py for all settings") from error
    except OSError as error:
        raise UserError(f"cannot read the configuration file: {error}") from error
    if values.help:
        print(values.main_module_help() or values.get_help())
        raise SystemExit(0)
    if rest[1:]:
        raise UserError(f"{rest[1]!r} is no flag: write settings as --config.name=value")
    for name, example in (("config", "configs/default.py"), ("workdir", "runs/NAME")):
        if values[name].value is None:
            raise UserError(f"--{name} is missing: give, for example, --{name}={example}")
    return TrainingFlags(values.config, values.workdir, values.resume)


def _one_line(error: Exception) -> str:
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(message).split()).rstrip(".")
