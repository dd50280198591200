"""Programs for devices that are described, and the messages between devices of a program."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import train as train_program
from metastyle_jax.errors import UserError
from metastyle_jax.runtime import collectives, topology
from processes import QUICK_COMPILE

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "--config=configs/smoke.py",
    "--config.model.width=4",
    "--config.model.residual_blocks=0",
    "--config.features.network=compact",
    "--config.objective.content_layers=('relu1_2',)",
    "--config.objective.style_layers=('relu1_1','relu1_2')",
    "--config.data.image_size=16",
    "--config.batch.styles=2",
    "--config.batch.contents=2",
    "--config.inner.unroll=False",
)
needs_libtpu = pytest.mark.skipif(
    not importlib.util.find_spec("libtpu"), reason="libtpu, the TPU compiler, is not installed"
)


def compile_only(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "train.py", "--compile-only", *TINY, *flags],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_messages_of_a_program_are_counted_with_their_bytes():
    devices = jax.devices()[:4]
    mesh = Mesh(np.asarray(devices), ("data",))

    def reduced(x, y):
        return jax.lax.psum((x.sum(0), y.astype(jnp.bfloat16).sum(0)), "data")

    program = jax.jit(
        jax.shard_map(
            reduced,
            mesh=mesh,
            in_specs=PartitionSpec("data"),
            out_specs=PartitionSpec(),
            check_vma=False,
        )
    )
    text = program.lower(jnp.ones((4, 5, 3)), jnp.ones((4, 7))).compile().as_text()
    found = collectives.in_program(text)
    assert {each.kind for each in found} == {"all-reduce"}
    # 15 float32; 7 bfloat16, which CPUs may add as float32
    assert sum(each.size for each in found) in (15 * 4 + 7 * 2, 15 * 4 + 7 * 4)


def test_one_device_sends_nothing():
    text = jax.jit(lambda x: x.sum()).lower(jnp.ones(8)).compile().as_text()
    assert collectives.in_program(text) == []


def test_a_described_slice_needs_the_tpu_compiler(monkeypatch):
    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--topology=v5e:4x4 needs the TPU compiler: pip install"):
        topology.described("--topology", "v5e:4x4")


def test_a_slice_that_is_none_is_one_sentence(monkeypatch):
    def refuse(name, platform):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: Invalid TPU external name: TPU v9.\nat")

    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: "here")
    monkeypatch.setattr(topology.topologies, "get_topology_desc", refuse)
    with pytest.raises(UserError) as caught:
        topology.described("--topology", "v9:2x2")
    assert str(caught.value) == (
        "--topology=v9:2x2 is no TPU slice (INVALID_ARGUMENT: Invalid TPU external name: TPU v9): "
        "write, for example, --topology=v5e:4x4"
    )


def test_the_step_compiles_for_this_machine_without_training():
    done = compile_only(**QUICK_COMPILE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("compiled the outer step for cpu")
    assert "operations" in done.stdout


def test_a_described_slice_is_for_compiling_alone(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        train_program.main(["train.py", *TINY, f"--workdir={tmp_path}/a", "--topology=v5e:4x4"])
    assert stopped.value.code == 2
    assert "--topology=v5e:4x4 needs --compile-only: add it" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
@needs_libtpu
def test_the_step_compiles_for_a_tpu_slice_of_several_hosts():
    # 16 chips on 4 hosts, of a step whose contents are split too
    done = compile_only("--topology=v5e:4x4", "--config.batch.styles=8")
    assert done.returncode == 0, done.stderr
    assert "for tpu (described TPU v5 lite, 16 devices)" in done.stdout
    assert "split into 8 x 2" in done.stdout
    # one of the gradient; two of contents: the inner gradient, its derivative; requests to stop
    assert "messages between devices: 4, " in done.stdout
