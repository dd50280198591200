"""Devices that are described, not there: enough to compile a program for them."""

from __future__ import annotations

import importlib.util
import os

import jax
from jax.experimental import topologies

from metastyle_jax.errors import UserError
from metastyle_jax.runtime.sharding import Device, in_order

# libtpu shall not ask the network for the TPU of this machine, which takes minutes, nor wait for
# another process that compiles
_NO_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def described(flag: str, name: str) -> list[Device]:
    """The devices of a TPU slice, as the compiler in libtpu knows them.

    Args:
      flag: for messages.
      name: generation and layout, "v5e:16x16".

    Raises:
      UserError: libtpu is not installed, or knows no such slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"{flag}={name} needs the TPU compiler: pip install 'jax[tpu]=={jax.__version__}' "
            "(no TPU is needed; set JAX_PLATFORMS=cpu)"
        )
    for variable, value in _NO_TPU.items():
        os.environ.setdefault(variable, value)
    try:
        topology = topologies.get_topology_desc(name, platform="tpu")
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"{flag}={name} is no TPU slice ({reason}): write, for example, {flag}=v5e:4x4"
        ) from error
    return in_order(topology.devices)
