"""Checkpoints: bit-exact, atomic, and damage never goes unnoticed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metastyle_jax.errors import UserError
from metastyle_jax.storage import checkpoint_files, digest
from metastyle_jax.storage.atomic import atomic_folder, atomic_path
from metastyle_jax.storage.checkpoint import Checkpoints
from metastyle_jax.storage.checkpoint_reading import read_params

CONFIGURATION = {"model.width": 8, "inner.layers": ("a", "b"), "outer.rate": 1e-5}


class Extra(NamedTuple):
    half: jax.Array
    flags: jax.Array


@flax.struct.dataclass
class State:
    params: dict
    opt_state: optax.OptState
    key: jax.Array
    step: jax.Array
    extra: Extra


def make_state(seed: int) -> State:
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        "weights": {"conv1": {"kernel": jax.random.normal(keys[0], (3, 3, 2, 4))}},
        "style": {"norm1": {"scale": jax.random.normal(keys[1], (4,)), "bias": jnp.zeros(4)}},
    }
    return State(
        params=params,
        opt_state=optax.adam(1e-3).init(params),
        key=jax.random.key_data(keys[2]),
        step=jnp.int32(seed),
        extra=Extra(jnp.asarray([1.5, -0.0, jnp.nan], jnp.bfloat16), jnp.array([True, False])),
    )


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, want in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert isinstance(got, jax.Array)
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert np.asarray(got).tobytes() == np.asarray(want).tobytes()


def write_two(directory: Path) -> None:
    with Checkpoints(directory, configuration=CONFIGURATION) as checkpoints:
        checkpoints.save(10, make_state(10))
        checkpoints.save(20, make_state(20))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("pristine") / "checkpoints"
    write_two(directory)
    return directory


@pytest.fixture
def two(pristine, tmp_path) -> Path:
    """A folder with the intact checkpoints 10 and 20."""
    return Path(shutil.copytree(pristine, tmp_path / "checkpoints"))


def restore(directory: Path, template=None, configuration=CONFIGURATION):
    template = make_state(0) if template is None else template
    with Checkpoints(directory, configuration=configuration) as checkpoints:
        return checkpoints.restore_latest(template, configuration)


def test_array_digest_is_the_hash_of_a_header_and_the_little_endian_values():
    values = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)
    expected = hashlib.sha256(b'["float32", [2, 2]]\n' + values).hexdigest()
    array = np.array([[1, 2], [3, 4]], np.float32)
    assert digest.array_digest(array) == expected
    assert digest.array_digest(jnp.asarray(array)) == expected
    assert digest.array_digest(array.astype(">f4")) == expected
    assert digest.array_digest(np.asfortranarray(array)) == expected
    bfloat16 = hashlib.sha256(b'["bfloat16", [1]]\n' + bytes.fromhex("803f")).hexdigest()
    assert digest.array_digest(jnp.ones(1, jnp.bfloat16)) == bfloat16


def test_array_digest_sees_shape_and_dtype():
    zeros = [np.zeros(4, np.float32), np.zeros((2, 2), np.float32), np.zeros(4, np.int32)]
    assert len({digest.array_digest(array) for array in zeros}) == 3
    with pytest.raises(TypeError):
        digest.array_digest(np.array([None]))


def test_tree_digest_ignores_order_and_sees_names_and_values():
    one, two = np.float32(1), np.float32(2)
    assert digest.tree_digest({"a": one, "b": two}) == digest.tree_digest({"b": two, "a": one})
    assert digest.tree_digest({"a": one, "b": two}) != digest.tree_digest({"a": two, "b": one})
    assert digest.tree_digest({"a": one}) != digest.tree_digest({"c": one})
    assert digest.leaf_digests({"a": {"b": [one]}}) == {"a/b/0": digest.array_digest(one)}
    with pytest.raises(ValueError, match="a/b"):
        digest.tree_digest({"a/b": one})


def test_nest_undoes_leaves_by_path():
    tree = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert digest.nest(digest.leaves_by_path(tree)) == tree
    with pytest.raises(ValueError, match="below another"):
        digest.nest({"a": 1, "a/b": 2})
    with pytest.raises(ValueError, match="both"):
        digest.nest({"a/b": 2, "a": 1})


def test_file_digest(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest.file_digest(tmp_path / "file") == expected


def test_round_trip_is_bit_exact(two):
    state, step = restore(two)
    assert step == 20
    assert_same_bits(state, make_state(20))


def test_numpy_leaves_stay_numpy(tmp_path):
    state = {"wide": np.int64([2**40]), "a": np.arange(3, dtype=">u4"), "b": jnp.ones(2)}
    with Checkpoints(tmp_path, configuration={}) as checkpoints:
        checkpoints.save(0, state)
        restored, step = checkpoints.restore_latest(state, {})
    assert step == 0
    assert isinstance(restored["wide"], np.ndarray) and restored["wide"].dtype == np.int64
    assert restored["wide"][0] == 2**40
    np.testing.assert_array_equal(restored["a"], [0, 1, 2])
    assert isinstance(restored["b"], jax.Array)


def test_template_of_shapes(two):
    template = jax.eval_shape(lambda: make_state(0))
    assert_same_bits(restore(two, template)[0], make_state(20))


def test_no_checkpoints(tmp_path):
    assert restore(tmp_path / "nothing") is None
    assert restore(tmp_path) is None


def test_keeps_the_newest(tmp_path):
    with Checkpoints(tmp_path, keep=2, configuration={}) as checkpoints:
        for step in (1, 2, 9, 10):
            checkpoints.save(step, {"a": jnp.full(3, float(step))})
        checkpoints.save(10, {"a": jnp.zeros(3)})  # the same step: nothing to do
        assert checkpoints.steps() == [9, 10]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "9"]
    assert restore(tmp_path, {"a": jnp.zeros(3)}, {})[0]["a"].tolist() == [10.0, 10.0, 10.0]


def test_keeps_round_steps_for_good(tmp_path):
    with Checkpoints(tmp_path, keep=1, keep_every=4, configuration={}) as checkpoints:
        for step in range(1, 11):
            checkpoints.save(step, {"a": jnp.full(3, float(step))})
        assert checkpoints.steps() == [4, 8, 10]


def test_keeps_the_lowest_losses(tmp_path):
    losses = [3.0, 1.0, 2.0, None, 5.0, 4.0, 6.0]
    with Checkpoints(tmp_path, keep=1, keep_best=2, configuration={}) as checkpoints:
        for step, loss in enumerate(losses):
            checkpoints.save(step, {"a": jnp.full(3, float(step))}, loss)
        assert checkpoints.steps() == [1, 2, 6]


def test_what_is_saved_later_is_the_state_of_then(tmp_path):
    """The next step takes over the memory of the state, while it is being written."""
    step = jax.jit(lambda x: x + 1, donate_argnums=0)
    state, steps = jnp.zeros(100_000), 5
    with Checkpoints(tmp_path, keep=steps, configuration={}) as checkpoints:
        for number in range(1, steps + 1):
            state = step(state)
            checkpoints.save_later(number, {"a": state})
    for number in range(1, steps + 1):
        record = checkpoint_files.read_record(tmp_path / str(number))
        arrays = checkpoint_files.read_arrays(tmp_path / str(number), record)
        assert set(arrays["a"].tolist()) == {number}


def test_what_cannot_be_saved_later_is_said_when_it_is_waited_for(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    checkpoints = Checkpoints(tmp_path / "file" / "below", configuration={})
    checkpoints.save_later(1, {"a": jnp.zeros(3)})
    with pytest.raises(UserError, match="below"):
        checkpoints.wait()
    # at the end of a session, but not in the place of the error that ends it
    with pytest.raises(UserError, match="below"), checkpoints:
        checkpoints.save_later(1, {"a": jnp.zeros(3)})
    checkpoints = Checkpoints(tmp_path / "file" / "below", configuration={})
    with pytest.raises(KeyError), checkpoints:
        checkpoints.save_later(1, {"a": jnp.zeros(3)})
        raise KeyError
    assert "below" in caplog.text


def test_does_not_write_over_a_run_that_was_not_resumed(two):
    with pytest.raises(UserError, match="--resume"):
        Checkpoints(two, configuration={}).save(15, make_state(15))
    assert_same_bits(restore(two)[0], make_state(20))


@pytest.mark.parametrize("bad", [{"a": 1.0}, {"a": jax.random.key(0)}, {"a": np.array([None])}])
def test_what_is_no_array_is_refused(tmp_path, bad):
    with pytest.raises(TypeError):
        Checkpoints(tmp_path, configuration={}).save(1, bad)
    assert not list(tmp_path.iterdir())


def test_empty_arrays_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no elements"):
        Checkpoints(tmp_path, configuration={}).save(1, {"a": jnp.zeros((0, 3))})


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def assert_falls_back(directory: Path, caplog) -> str:
    """Step 10 comes back bit for bit, and one line says why; returns that line."""
    caplog.clear()
    state, step = restore(directory)
    assert step == 10
    assert_same_bits(state, make_state(10))
    (message,) = [record.getMessage() for record in caplog.records]
    assert str(directory / "20") in message and "damaged" in message and "\n" not in message
    assert (directory / "20.damaged").is_dir()
    return message


DAMAGE = {
    "first bit": lambda path: flip(path, 0),
    "middle bit": lambda path: flip(path, path.stat().st_size // 2),
    "last bit": lambda path: flip(path, -1),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_to_any_file_is_reported(pristine, tmp_path, caplog, capfd, damage):
    files = [path.relative_to(pristine / "20") for path in files_of(pristine / "20")]
    assert len(files) > 10
    for number, file in enumerate(files):
        directory = Path(shutil.copytree(pristine, tmp_path / str(number)))
        damage(directory / "20" / file)
        assert str(file) in assert_falls_back(directory, caplog)
    assert capfd.readouterr().err == ""


def rewrite_record(folder: Path, change: Callable[[dict], None]) -> None:
    """Change the record and give it the digest of its new contents."""
    path = folder / "record.json"
    record = json.loads(path.read_text())
    change(record)
    del record["digest"]
    data = json.dumps(record, sort_keys=True).encode()
    path.write_text(json.dumps({**record, "digest": hashlib.sha256(data).hexdigest()}))


# what Orbax leaves behind when it fails half-way; why files are compared before it reads them
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_bit_flips_that_reach_the_arrays_are_noticed(pristine, tmp_path, caplog):
    """With the digests of the files out of the way, those of the arrays must do.

    Flips in the largest file: in values, lengths, indices and padding. A flip in the padding may
    do no harm; no other value than the saved one may come back.
    """
    path = max(files_of(pristine / "20" / "params" / "d"), key=lambda path: path.stat().st_size)
    outcomes = []
    for number, position in enumerate(np.linspace(0, path.stat().st_size - 1, 25).astype(int)):
        directory = Path(shutil.copytree(pristine, tmp_path / str(number)))
        rewrite_record(directory / "20", lambda record: record["files"].clear())
        flip(directory / path.relative_to(pristine), position)
        state, step = restore(directory)
        assert_same_bits(state, make_state(step))
        outcomes.append(step)
    assert outcomes.count(10) > 12


def test_values_exchanged_without_a_trace_in_orbax_are_noticed(two, caplog):
    """A whole intact item of another step: only the digests of the arrays can tell."""
    shutil.rmtree(two / "20" / "params")
    shutil.copytree(two / "10" / "params", two / "20" / "params")
    rewrite_record(two / "20", lambda record: record["files"].clear())
    message = assert_falls_back(two, caplog)
    assert re.search("the array params/[a-z0-9/]+ does not have its digest", message)


def test_an_edited_record_is_damage_not_another_configuration(two, caplog):
    path = two / "20" / "record.json"
    record = json.loads(path.read_text())
    record["configuration"]["model.width"] = 9
    path.write_text(json.dumps(record))
    assert "record.json does not have its digest" in assert_falls_back(two, caplog)


def test_a_checkpoint_under_the_name_of_another_step(two, caplog):
    shutil.rmtree(two / "20")
    shutil.copytree(two / "10", two / "20")
    assert "it is of step 10" in assert_falls_back(two, caplog)


def test_a_later_format(two):
    rewrite_record(two / "20", lambda record: record.update(format_version=2))
    with pytest.raises(UserError, match="update metastyle_jax"):
        restore(two)


def test_training_goes_on_after_damage(two, caplog):
    shutil.rmtree(two / "20" / "training")
    with Checkpoints(two, configuration=CONFIGURATION) as checkpoints:
        assert checkpoints.restore_latest(make_state(0), CONFIGURATION)[1] == 10
        checkpoints.save(10, make_state(10))  # Ctrl-C right after resuming
        checkpoints.save(20, make_state(20))
        assert checkpoints.steps() == [10, 20]
    assert_same_bits(restore(two)[0], make_state(20))


def test_none_intact(two, caplog):
    for step in ("10", "20"):
        (two / step / "record.json").unlink()
    with pytest.raises(UserError, match="intact"):
        restore(two)
    assert len(caplog.records) == 2
    with pytest.raises(UserError, match="intact"):
        read_params(two)


def test_damage_is_logged_on_stderr_without_any_set_up(two):
    for path in files_of(two / "20" / "params"):
        flip(path, 0)
    module = "metastyle_jax.storage.checkpoint_reading"
    code = f"from {module} import read_params; read_params({str(two)!r})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    (line,) = result.stderr.splitlines()
    assert str(two / "20") in line and "damaged" in line
    assert result.returncode == 0


def test_other_configuration_names_setting_and_values(two):
    with pytest.raises(UserError, match=r"model.width is 8 there and 16 now.*--workdir"):
        restore(two, configuration={**CONFIGURATION, "model.width": 16})
    with pytest.raises(UserError, match=r"model.blocks is 'not set' there and 5 now"):
        restore(two, configuration={"model.blocks": 5})
    assert restore(two, configuration={})[1] == 20  # settings that need not match
    assert sorted(path.name for path in two.iterdir()) == ["10", "20"]


def test_other_structure_shape_or_dtype(two):
    state = make_state(0)
    wider = state.replace(extra=state.extra._replace(half=jnp.zeros(5, jnp.bfloat16)))
    with pytest.raises(UserError, match=r"extra/half is bfloat16 \(3,\) there and bfloat16 \(5,\)"):
        restore(two, wider)
    with pytest.raises(UserError, match="key is uint32"):
        restore(two, state.replace(key=state.key.astype(jnp.int32)))
    with pytest.raises(UserError, match="opt_state/0/count is only in the checkpoint"):
        restore(two, state.replace(opt_state=optax.sgd(1.0).init(state.params)))
    with pytest.raises(UserError, match="another is not in the checkpoint"):
        restore(two, {**vars(state), "another": jnp.zeros(1)})


def test_read_params_of_workdir_folder_and_step(two, caplog):
    for path, seed in [(two.parent, 20), (two, 20), (two / "10", 10), (str(two / "20"), 20)]:
        params, record = read_params(path)
        expected = jax.device_get(make_state(seed).params)
        assert digest.tree_digest(params) == digest.tree_digest(expected)
        assert type(params["weights"]["conv1"]["kernel"]) is np.ndarray
        assert record["step"] == seed
        assert record["configuration"] == {**CONFIGURATION, "inner.layers": ["a", "b"]}
        assert set(record["versions"]) == {"jax", "flax", "metastyle_jax"}
    shutil.rmtree(two / "20" / "training")  # not needed for the parameters
    assert read_params(two)[1]["step"] == 20
    shutil.rmtree(two / "20" / "params")
    assert read_params(two)[1]["step"] == 10
    assert "damaged" in caplog.text
    with pytest.raises(UserError, match="damaged"):
        read_params(two / "20")


def test_read_params_of_what_is_no_checkpoint(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "7").mkdir()
    for name in ("missing", "file", "empty", "7"):
        with pytest.raises(UserError, match="checkpoint") as error:
            read_params(tmp_path / name)
        assert "\n" not in str(error.value)
    Checkpoints(tmp_path / "other", configuration={}).save(1, {"a": jnp.ones(2)})
    with pytest.raises(UserError, match="no params"):
        read_params(tmp_path / "other")


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        Checkpoints(tmp_path / "file" / "c", configuration={}).save(1, {"a": jnp.ones(2)})


def test_full_disk_leaves_older_checkpoints(two):
    """A limit on the size of files stands in for a full disk; in a process of its own."""
    code = f"""
        import resource, numpy as np
        from metastyle_jax.storage.checkpoint import Checkpoints
        from metastyle_jax.errors import UserError
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        noise = np.random.default_rng(0).normal(size=100_000)
        try:
            Checkpoints({str(two)!r}, configuration={{}}).save(30, {{"a": noise}})
        except UserError as error:
            print("UserError:", error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.startswith("UserError: cannot write"), result
    assert result.stdout.count("\n") == 1 and str(two / "30") in result.stdout
    assert "file too large" in result.stdout and result.stderr == ""
    assert sorted(path.name for path in two.iterdir()) == ["10", "20"]
    assert_same_bits(restore(two)[0], make_state(20))
    with Checkpoints(two, configuration=CONFIGURATION) as checkpoints:
        checkpoints.restore_latest(make_state(0), CONFIGURATION)
        checkpoints.save(30, make_state(30))
    assert sorted(path.name for path in two.iterdir()) == ["10", "20", "30"]


def test_a_disk_that_is_full_is_one_sentence_and_no_trace(tmp_path):
    """On a disk of 3 MB; the threads that write used to print a trace for each array."""
    code = f"""
        import numpy as np
        from metastyle_jax.storage.checkpoint import Checkpoints
        from metastyle_jax.errors import exit_cleanly
        arrays = {{f"a{{i}}": np.random.default_rng(i).normal(size=3000) for i in range(300)}}
        with exit_cleanly():
            Checkpoints({str(tmp_path)!r}, configuration={{}}).save(1, {{"params": arrays}})
    """
    mount = f"mount -t tmpfs -o size=3m none {shlex.quote(str(tmp_path))}"
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*alone, mount]).returncode:
        pytest.skip("cannot mount a small disk here")
    run = f'{mount} && "$0" -c "$1"'
    result = subprocess.run(
        [*alone, run, sys.executable, textwrap.dedent(code)], capture_output=True, text=True
    )
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: cannot write {tmp_path / '1'}: no space left on device; free")
    assert result.returncode == 2


def test_killed_while_saving(tmp_path):
    """A process that only saves is killed after some saves: the checkpoints left are complete."""
    code = f"""
        import itertools, jax.numpy as jnp
        from metastyle_jax.storage.checkpoint import Checkpoints
        checkpoints = Checkpoints({str(tmp_path)!r}, keep=2, configuration={{}})
        template = {{"a": jnp.zeros(1000), "b": jnp.zeros(())}}
        first = (checkpoints.restore_latest(template, {{}}) or (None, 0))[1]
        for step in itertools.count(first + 1):
            value = {{"a": jnp.full(1000, float(step)), "b": jnp.asarray(float(step))}}
            checkpoints.save(step, value)
            print(step, flush=True)
    """
    seen = 0
    for saves in (2, 3, 5):
        command = [sys.executable, "-c", textwrap.dedent(code)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            lines = [process.stdout.readline() for _ in range(saves)]
            process.send_signal(signal.SIGKILL)  # while it saves the next one
            printed = int([*lines, *process.stdout.read().split()][-1])
        template = {"a": jnp.zeros(1000), "b": jnp.zeros(())}
        state, step = restore(tmp_path, template, {})
        assert step in (printed, printed + 1) and step > seen
        assert float(state["b"]) == step and (np.asarray(state["a"]) == step).all()
        seen = step


def test_orbax_says_nothing(two, capfd, caplog):
    with caplog.at_level(logging.DEBUG):
        restore(two)
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name == "absl"]
    assert not logging.getLogger("absl").disabled


def test_atomic_path_keeps_the_old_file_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "new" / "sheet.png"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".png" and temporary.parent == target.parent
        temporary.write_text("one")
        assert not target.exists()
    for failure in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(failure), atomic_path(target) as temporary:
            temporary.write_text("tw")
            raise failure
    assert target.read_text() == "one"
    assert [path.name for path in target.parent.iterdir()] == ["sheet.png"]


def test_atomic_path_explains_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "file" / "a.png", tmp_path / "folder"):
        with pytest.raises(UserError, match="cannot write") as error, atomic_path(target) as path:
            path.write_text("x")
        assert str(target) in str(error.value) and "choose" in str(error.value)
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "b") as path:
        (tmp_path / "an input that is missing").read_text()


@pytest.mark.parametrize("whole", [atomic_path, atomic_folder])
@pytest.mark.parametrize("path", ["", ".", "..", "/", "a/.."])
def test_what_names_no_file_is_one_sentence(whole, path, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    with pytest.raises(UserError, match="names no file: give --out a name"), whole(path):
        pass
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]


def test_atomic_path_on_a_full_disk(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UserError, match="file too large"), atomic_path(tmp_path / "a") as path:
            path.write_bytes(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
