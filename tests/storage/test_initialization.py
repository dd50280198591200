"""Where a network starts from: a training that goes on keeps its earlier checkpoints apart."""

from __future__ import annotations

import numpy as np
import pytest

from metastyle_jax.errors import UserError
from metastyle_jax.storage import checkpoint, initialization, style_file
from metastyle_jax.storage.digest import tree_digest
from metastyle_jax.stylization.loading import load


def params(seed: int):
    random = np.random.default_rng(seed)
    kernel, scale, bias = (random.normal(size=n).astype(np.float32) for n in (6, 2, 2))
    return {
        "weights": {"conv1": {"kernel": kernel}, "conv2": {"kernel": kernel[:3]}},
        "style": {"norm1": {"scale": scale, "bias": bias}},
    }


@pytest.fixture
def run_a(tmp_path, monkeypatch):
    """runs/a with the checkpoints 40 and 60, of which those of step 20 have gone."""
    monkeypatch.chdir(tmp_path)
    save(20, 40, 60)


def save(*steps: int) -> None:
    saved = checkpoint.Checkpoints("runs/a/checkpoints", keep=2, configuration={"seed": 0})
    for step in steps:
        saved.save(step, {"params": params(step)})


@pytest.mark.parametrize(
    "spec, step, name",
    [
        ("runs/a", 60, "runs/a@60"),
        ("runs/a/", 60, "runs/a@60"),
        ("runs/a@40", 40, "runs/a@40"),
        ("runs/a/checkpoints@40", 40, "runs/a/checkpoints@40"),
        ("runs/a/checkpoints/40", 40, "runs/a/checkpoints/40"),
    ],
)
def test_a_step_of_a_training_and_a_name_that_finds_it_again(run_a, spec, step, name):
    found = initialization.load(spec)
    assert found.name == name and found.settings == {"seed": 0}
    assert found.digest == tree_digest(params(step)["weights"])
    assert initialization.load(found.name).digest == found.digest


def test_a_step_that_is_gone_names_those_that_are_left(run_a):
    with pytest.raises(UserError, match=r"runs/a has no checkpoint of step 20 .* but of 40, 60$"):
        initialization.load("runs/a@20")
    with pytest.raises(UserError, match="there is no initialization runs/b@20"):
        initialization.load("runs/b@20")


def test_a_folder_whose_name_has_such_an_end_is_that_folder(run_a, tmp_path):
    (tmp_path / "runs" / "a").rename("a@40")
    assert initialization.load("a@40").name == "a@40@60"
    assert initialization.load("a@40@40").digest == tree_digest(params(40)["weights"])


def adapted(init: str, seed: int) -> str:
    """A style for the weights of that seed, said to be adapted from `init`."""
    each = params(seed)
    digest = tree_digest(each["weights"])
    style_file.save_style(
        "s.safetensors", each["style"], weights_digest=digest, settings={"init": init}
    )
    return "s.safetensors"


@pytest.mark.parametrize("recorded", ["runs/a@60", "runs/a"])
def test_a_style_finds_its_weights_while_the_training_goes_on(run_a, recorded):
    """By the step, or, where an earlier version recorded none, by the digest."""
    style = adapted(recorded, 60)
    save(80)
    np.testing.assert_equal(load(style).params, params(60))
    with pytest.raises(UserError, match=r"other weights than those of runs/a@80: it was adapted"):
        load(style, init="runs/a")
    with pytest.raises(UserError, match=r"give --init=runs/a@60$"):
        load(style, init="runs/a")
    np.testing.assert_equal(load(style, init="runs/a@60").params, params(60))


def test_a_style_whose_checkpoint_is_gone_says_so(run_a):
    style = adapted("runs/a@20", 20)
    with pytest.raises(
        UserError, match=r"adapted from runs/a@20, which cannot be loaded .*any more"
    ):
        load(style)
    style = adapted("runs/a", 20)
    with pytest.raises(UserError, match="made for other weights than those of runs/a@60: it was"):
        load(style)
