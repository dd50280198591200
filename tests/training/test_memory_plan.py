"""The plan against what XLA says of the program that training compiles for real arrays."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import pytest

from configs import default
from metastyle_jax.cli import commands
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.metalearning import outer_step
from metastyle_jax.runtime.collectives import Collective
from metastyle_jax.settings import configuration, construction
from metastyle_jax.training import (
    compile_report,
    memory_plan,
    plan_report,
    program,
    step_memory,
    training_pictures,
)

ROOT = Path(__file__).resolve().parents[2]
# the smallest network there is: these tests compile a dozen programs
TINY = {
    "data.content": "procedural:4",
    "data.style": "procedural:4",
    "data.image_size": 16,
    "data.threads": 0,
    "batch.styles": 2,
    "batch.contents": 1,
    "model.width": 2,
    "model.residual_blocks": 0,
    "features.network": "compact",
    "objective.content_layers": ("relu1_2",),
    "objective.style_layers": ("relu1_2",),
    "parallel.devices": 1,
}

pytestmark = pytest.mark.usefixtures("standard_promotion")


def tiny_config(**changes):
    config = default.get_config()
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    config.update_from_flattened_dict({**TINY, **changes})
    return config


def on_first_device(tree) -> int:
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("kind", "steps"), [pytest.param("shard_map", 1, marks=pytest.mark.slow), ("pmap", 0)]
)
def test_equals_the_program_for_real_arrays(kind, steps):
    config = tiny_config(
        parallel__kind=kind,
        parallel__devices=2,
        inner__steps=steps,
        outer__estimator="first_order",
    )
    predicted = step_memory.step_memory(config)

    optimizer = construction.make_outer_optimizer(config)
    _, step = program.wrap_steps(config, optimizer, jax.devices()[:2])
    sources = training_pictures.open_sources(config)
    params = construction.init_params(config, jax.random.key(0))
    arguments = (
        step.replicate(outer_step.init_state(params, optimizer)),
        step.place_batch(next(training_pictures.batches(config, sources, 0, 0))),
        step.replicate(construction.make_task(config, program.load_network(config))),
    )
    actual = step.step.lower(*arguments).compile().memory_analysis()

    assert predicted.temporary == actual.temp_size_in_bytes > 0
    assert predicted.arguments == actual.argument_size_in_bytes
    found = [predicted.state, predicted.batch, predicted.features]
    assert found == [on_first_device(argument) for argument in arguments]
    assert predicted.arguments == sum(found)
    # the state is donated by shard_map only
    assert (predicted.results < predicted.state) == (kind == "shard_map")
    assert predicted.total == sum(found) + predicted.temporary + predicted.results


@pytest.mark.slow
def test_the_largest_batch_fits_and_the_next_does_not(monkeypatch):
    config = tiny_config(inner__steps=0)
    compiled = {}

    def measured(config):
        styles = config.batch.styles
        if styles not in compiled:
            compiled[styles] = measure(config)
        return compiled[styles]

    measure = step_memory.step_memory
    monkeypatch.setattr(step_memory, "step_memory", measured)
    config.batch.styles = 3
    limit = measured(config).total
    config.batch.styles = 2
    (row,) = memory_plan.plan(config, limit=limit, others=(), verify=True).rows
    assert row.steps == 0 and row.compiled and row.largest >= 3
    assert row.memory == compiled[2]
    assert compiled[row.largest].total <= limit < compiled[row.largest + 1].total


@pytest.mark.parametrize(
    ("styles", "contents", "devices", "parts"), [(4, 4, 8, 4), (12, 4, 8, 4), (8, 1, 4, 4)]
)
def test_a_plan_compiles_the_configured_batch_also_where_contents_are_split(
    styles, contents, devices, parts, monkeypatch
):
    """Styles are split into `parts`; bytes grow with the styles of each part."""
    config = tiny_config(inner__steps=0, batch__styles=styles, batch__contents=contents)
    compiled = []

    def measured(config):
        compiled.append(config.batch.styles)
        return step_memory.Memory(0, 0, 0, 0, 100 * config.batch.styles // parts, 0)

    monkeypatch.setattr(memory_plan, "pick_devices", lambda config: devices * [None])
    monkeypatch.setattr(step_memory, "step_memory", measured)
    (row,) = memory_plan.plan(config, limit=1000, others=()).rows
    assert compiled[0] == styles
    assert row.memory.total == 100 * styles // parts
    assert (row.per_style, row.largest) == (100, 10 * parts)


def affine(n: int) -> int:
    return 1000 + 70 * n


def crooked(n: int) -> int:
    return 1000 + 70 * n + 400 * (n > 20)


@pytest.mark.parametrize("size", [affine, crooked])
@pytest.mark.parametrize("limit", [10, 1069, 1070, 1140, 2001, 2400, 2471, 2870, 9000, 10**9])
def test_largest_share_measures_both_sides_of_the_limit(size, limit):
    measured = []

    def measure(n: int) -> int:
        measured.append(n)
        return size(n)

    expected = max((n for n in range(1, 200) if size(n) <= limit), default=0)
    if limit == 10**9:
        expected = (limit - size(10**6)) // 70 + 10**6
    points = {n: size(n) for n in (1, 4)}
    assert memory_plan.largest_share(points, limit, measure) == (expected, True)
    assert len(measured) <= 5 and not set(measured) & set(points)


@pytest.mark.parametrize("limit, largest", [(10, 0), (1069, 0), (1070, 1), (1560, 8), (9000, 114)])
def test_largest_share_extrapolates_a_line(limit, largest):
    share, compiled = memory_plan.largest_share({1: affine(1), 4: affine(4)}, limit)
    assert share == largest
    # one of the points is known to be too large: then nothing needs to be extrapolated
    assert compiled == (limit < affine(1))


@pytest.mark.parametrize(
    "text, size",
    [
        ("16GB", 16 * 10**9),
        ("1.5 gb", 15 * 10**8),
        ("24GiB", 24 * 2**30),
        ("2k", 2000),
        ("123456", 123456),
        ("7B", 7),
    ],
)
def test_sizes(text, size):
    assert plan_report.parse_size("--memory", text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0", "16 PB", "1e9", "iB", "0.1"])
def test_what_is_no_size_says_what_is(text):
    with pytest.raises(UserError, match=r"--memory=.* is no size: .*--memory=16GB"):
        plan_report.parse_size("--memory", text)


@pytest.mark.parametrize(
    "size, shown",
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (123456, "123 kB"), (12.8e9, "12.8 GB")],
)
def test_sizes_are_shown_with_three_digits(size, shown):
    assert plan_report.show_size(int(size)) == shown


def command(*arguments: str, changes: dict[str, object] = TINY) -> list[str]:
    values = [f"--config.{name}={value}" for name, value in changes.items()]
    return ["plan", f"--config={ROOT / 'configs' / 'default.py'}", *values, *arguments]


def test_the_command_prints_a_table(monkeypatch, capsys):
    asked = []

    def measured(config):
        asked.append((config.inner.steps, config.batch.styles))
        temporary = 10**6 * config.batch.styles * (1 + config.inner.steps)
        return step_memory.Memory(10**5, 10**4, 10**3, 111_000, temporary, 0)

    monkeypatch.setattr(step_memory, "step_memory", measured)
    commands.main(command("--memory=20MB", "--config.inner.steps=2"))
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert "on cpu (1 device): 2 styles x 1 contents of 16 px, estimator exact" in lines[0]
    fields = [" ".join(line.split()) for line in lines[1:5]]
    assert fields == [
        "T inner steps state features batch temporary total largest batch",
        "1 unrolled 100 kB 10.0 kB 1.00 kB 4.00 MB 4.11 MB 9 x 1 extrapolated",
        "2 unrolled 100 kB 10.0 kB 1.00 kB 6.00 MB 6.11 MB 6 x 1 extrapolated",
        "5 unrolled 100 kB 10.0 kB 1.00 kB 12.0 MB 12.1 MB 3 x 1 extrapolated",
    ]
    assert len({line.index(" x 1") for line in lines[2:5]}) == 1, "columns are aligned"
    assert "20.0 MB" in lines[5]
    assert "Memory grows with T where inner steps are unrolled" in lines[6]
    assert len(captured.err.splitlines()) == len(asked) == 4


def test_a_long_inner_loop_is_one_and_what_is_compiled_is_said(monkeypatch, capsys):
    """By default; asked to unroll it, `plan` says how to do without."""
    monkeypatch.setattr(
        step_memory, "step_memory", lambda config: step_memory.Memory(1, 1, 1, 3, 9, 0)
    )
    commands.main(command("--config.inner.steps=20"))
    captured = capsys.readouterr()
    rows = [line.split()[:2] for line in captured.out.splitlines()[2:5]]
    assert rows == [["1", "unrolled"], ["5", "unrolled"], ["20", "a"]]
    first, *rest = captured.err.splitlines()
    assert "compiling 20 inner steps (as a loop) on 2 styles: about 0.5 to 2 min" in first
    assert all(re.search(r"on (1 style|2 styles): about \d+ s \.\.\.$", line) for line in rest)
    commands.main(command("--config.inner.steps=20", "--config.inner.unroll=True"))
    first = capsys.readouterr().err.splitlines()[0]
    assert "one after the other; --config.inner.unroll=False compiles one of them" in first
    assert "about 5.2 to 21 min" in first


def test_the_default_memory_is_that_of_the_machine():
    devices = jax.devices()[:2]
    free = step_memory.device_memory(devices)
    assert free > 10**7
    assert free * 2 == pytest.approx(step_memory.device_memory(devices[:1]), rel=0.2)


class Accelerator:
    def __init__(self, process_index: int) -> None:
        self.process_index = process_index

    def memory_stats(self) -> dict[str, int]:
        assert not self.process_index, "devices of other processes do not say"
        return {"bytes_in_use": 5, "bytes_limit": 80_000}


def test_an_accelerator_knows_its_limit():
    assert step_memory.device_memory([Accelerator(1), Accelerator(0)]) == 80_000


@pytest.mark.parametrize(
    "arguments, fragments",
    [
        (["--memory=lots"], ["--memory=lots", "16GB"]),
        (["--config.batch.styles=3", "--config.parallel.devices=2"], ["config.batch.styles=3"]),
        (["--config.inner.stepz=3"], ["stepz"]),
        (["--config.inner.steps=three"], ["inner.steps"]),
        (["--config.outer.estimator=second"], ["outer.estimator='second'"]),
        (["--wokdir=x"], ["wokdir"]),
        (["inner.steps=3"], ["inner.steps=3"]),
    ],
)
def test_mistakes_are_one_sentence(arguments, fragments, capsys):
    with pytest.raises(SystemExit) as caught, exit_cleanly():
        commands.main(command(*arguments))
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert not captured.out
    (line,) = captured.err.splitlines()
    assert all(fragment in line for fragment in fragments)


@pytest.mark.parametrize(
    "arguments, fragment",
    [
        ([], "--config is missing"),
        (["--config=nowhere.py"], "nowhere.py"),
        (["--config=nowhere.py", "--config.seed=1"], "nowhere.py"),
    ],
)
def test_without_a_configuration_it_asks_for_one(arguments, fragment, capsys):
    with pytest.raises(SystemExit) as caught, exit_cleanly():
        commands.main(["plan", *arguments])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert fragment in line


def test_other_commands_still_refuse_what_they_do_not_know(capsys):
    with pytest.raises(SystemExit) as caught, exit_cleanly():
        commands.main(
            ["stylize", "style.safetensors", "photo.jpg", "--out=x", "--config.inner.steps=2"]
        )
    assert caught.value.code == 2
    assert "metastyle stylize has no flag --config.inner.steps=2" in capsys.readouterr().err


def test_a_program_too_large_to_compile_is_one_sentence(monkeypatch):
    class Step:
        replicate = staticmethod(lambda tree: tree)
        place_batch = staticmethod(lambda batch: batch)
        step = property(lambda self: self)

        def lower(self, *shapes):
            return self

        def compile(self):
            raise jax.errors.JaxRuntimeError(
                "RESOURCE_EXHAUSTED: out of memory in memory space hbm"
            )

    monkeypatch.setattr(step_memory, "wrap_steps", lambda *arguments: (Step(), Step()))
    with pytest.raises(UserError, match=r"config\.batch\.styles=2 is too large for cpu"):
        step_memory.step_memory(tiny_config())


def test_compile_only_says_what_the_compiled_step_needs(monkeypatch, capsys):
    memory = step_memory.Memory(10**5, 10**4, 10**3, 111_000, 2 * 10**6, 0)
    sent = [Collective("all-reduce", 6_000_000), Collective("all-reduce", 13_000)]
    compiled = step_memory.CompiledStep(memory, 3.25e9, sent, 7.1)
    monkeypatch.setattr(step_memory, "compile_step", lambda config, devices: compiled)
    print(compile_report.report(configuration.read(tiny_config())))
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == "compiled the outer step for cpu (not kept for the training, 1 device) in 7.1 s"
    )
    assert lines[2].startswith(
        "memory: 2.11 MB (state 100 kB, features 10.0 kB, batch 1.00 kB, temp"
    )
    assert lines[3] == "operations: 3.25e+09"
    assert lines[4] == "messages between devices: 2, 6.01 MB"
