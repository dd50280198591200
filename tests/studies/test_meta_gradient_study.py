"""The studies: their numbers against second formulations, their files, resuming."""

from __future__ import annotations

import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from configs import adjustable, embedded, meta_adjustable, smoke
from metastyle_jax import bilevel
from metastyle_jax.errors import UserError
from metastyle_jax.metalearning import outer_loss, style_tasks, subsets
from metastyle_jax.reporting import records
from metastyle_jax.settings import configuration, schema
from metastyle_jax.studies.meta_gradients import (
    curvature,
    gradients,
    measurement_point,
    meta_gradient_study,
    training_curves,
)
from metastyle_jax.studies.style_losses import style_loss_settings, style_loss_study


def tiny_config():
    config = smoke.get_config()
    config.data.content = config.data.style = "procedural:4"
    config.data.image_size = 16
    config.data.threads = 0
    config.batch.styles = 2
    config.batch.contents = 1
    config.model.width = 2
    config.model.residual_blocks = 1
    config.objective.content_layers = config.objective.style_layers = ("relu1_1",)
    config.inner.learning_rate = 0.3
    config.inner.clip = 0.0
    config.parallel.devices = 1
    config.outer.style_warmup = 0
    return config


# few settings to check: each is read anew for every estimator and number of steps
QUICK = {"estimators": ("exact",), "inner_steps": (1,), "trained": ("exact",)}


@pytest.fixture
def nothing_measured(monkeypatch):
    """Stops a study with an InterruptedError after its checks."""

    def checked():
        raise InterruptedError

    monkeypatch.setattr(meta_gradient_study.plots, "require_matplotlib", checked)


def test_ends_of_a_known_spectrum():
    random = np.random.default_rng(1)
    matrix = random.standard_normal((30, 30))
    matrix += matrix.T
    expected = np.linalg.eigvalsh(matrix)[[0, -1]]
    found = curvature.spectrum_ends(lambda vector: matrix @ vector, 30)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.slow
def test_inner_spectrum_equals_that_of_the_dense_hessian():
    config = tiny_config()
    point = measurement_point.load_point(config, "random", batches=1, styles=1)
    (row,) = curvature.inner_spectrum(config, point)

    fast, slow = subsets.split(point.params.network, "norm")
    vector, unravel = jax.flatten_util.ravel_pytree(fast)
    data, _ = style_tasks.support_and_query(point.task, point.batches[0])

    def loss(vector):
        return style_tasks.inner_loss(unravel(vector), slow, data)[0]

    values = np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(loss))(vector), np.float64))
    assert row["largest"] == pytest.approx(values[-1], rel=2e-3)
    assert row["smallest"] == pytest.approx(values[0], rel=2e-3, abs=2e-3 * values[-1])
    assert row["bound"] == pytest.approx(2 / values[-1], rel=2e-3)
    norm = np.linalg.norm(jax.jit(jax.grad(loss))(vector))
    assert row["gradient_norm"] == pytest.approx(norm, rel=1e-4)


def test_comparison_of_known_gradients():
    def gradient(weights, style):
        return {"weights": np.array(weights, float), "style": np.array(style, float)}

    exact = [gradient([1, 0], [0]), gradient([0, 2], [0])]
    found = gradients.compare([gradient([1, 0], [1]), gradient([0, 2], [-1])], exact)
    # angles of 45 and 26.565 degrees; in the mean over batches the errors cancel
    assert found["cosine"] == pytest.approx((np.sqrt(1 / 2) + np.sqrt(4 / 5)) / 2)
    assert found["cosine_weights"] == pytest.approx(1)
    assert found["norm_ratio"] == pytest.approx((np.sqrt(2) + np.sqrt(5 / 4)) / 2)
    assert found["cosine_of_means"] == pytest.approx(1)
    assert gradients.batch_noise(exact)["cosine"] == 0


def test_rate_sweep_against_losses_of_its_own():
    config = tiny_config()
    point = measurement_point.load_point(config, "random", batches=1, styles=1)
    row = {"style": 0, "bound": 0.5}
    small, large = curvature.RateSweep(config).measure(point, point.batches[0], row, 2)
    assert (small["rate"], large["rate"], large["of_bound"]) == pytest.approx((1e-5, 0.5, 1))
    assert small["cosine"] == pytest.approx(1, abs=1e-6)
    assert small["norm_ratio"] == pytest.approx(1, abs=1e-4)
    assert large["cosine"] < small["cosine"] - 1e-4

    loop = measurement_point.one_step_loop(config, bilevel.reverse)

    @jax.jit
    def query_loss(rate):
        arguments = (point.params, point.batches[0], point.task)
        return outer_loss.meta_loss(*arguments, loop, optax.sgd(rate))[0]

    expected = query_loss(jnp.float32(0.5)) / query_loss(jnp.float32(0))
    assert large["loss_ratio"] == pytest.approx(float(expected), rel=1e-4)


def test_records_measure_once_and_only_for_the_same_settings(tmp_path, capsys):
    path = tmp_path / "measurements.json"
    first = records.Records(path, {"a": (1, 2)}, total=2)
    assert first.measure("one", lambda: [{"value": 1}]) == [{"value": 1}]

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.measure("two", interrupted)
    again = records.Records(path, {"a": (1, 2)}, total=2)
    assert again.measure("one", interrupted) == [{"value": 1}]
    assert again.measure("two", list) == []
    # what an earlier run measured of other things counts for nothing
    records.Records(path, {"a": (1, 2)}, total=2).measure("three", list)
    counted = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert counted == ["[1/2]", "[2/2]", "[1/2]"]
    with pytest.raises(UserError, match=r"a=\[1, 2\], not 3: use another --out"):
        records.Records(path, {"a": 3}, total=2)
    path.write_text("{}")
    with pytest.raises(UserError, match="holds no measurements"):
        records.Records(path, {"a": 3}, total=2)


@pytest.mark.slow
def test_whole_study_writes_its_files_and_goes_on(tmp_path, standard_promotion, monkeypatch):
    pytest.importorskip("matplotlib", reason="a study draws with matplotlib (extra: study)")
    study = meta_gradient_study.Study(
        estimators=("first_order",),
        inner_steps=(1,),
        batches=2,
        styles=1,
        rates=2,
        trained=("first_order",),
        train_steps=2,
        adaptation_styles=1,
        adaptation_steps=(0, 2),
        adaptation_contents=3,
    )
    meta_gradient_study.run(tiny_config(), study, tmp_path)
    report = (tmp_path / "study.md").read_text()
    for name in ("gradients", "curvature", "rates", "training", "adaptation"):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            assert list(csv.DictReader(file))
        if name != "curvature":
            assert f"({name}.png)" in report
            with Image.open(tmp_path / f"{name}.png") as image:
                image.verify()
    rows = json.loads((tmp_path / "measurements.json").read_text())["entries"]
    exact, first_order, _ = rows["gradients, T = 1"]
    assert exact["cosine"] == pytest.approx(1)
    assert 0 < first_order["cosine"] < 1
    assert [row["step"] for row in rows["training with first_order"]] == [1, 2]

    (tmp_path / "study.md").unlink()
    monkeypatch.setattr(gradients, "compare_estimators", None)  # measured again, it would fail
    monkeypatch.setattr(curvature, "inner_spectrum", None)
    meta_gradient_study.run(tiny_config(), study, tmp_path)
    assert (tmp_path / "study.md").read_text() == report


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimators": ("exact", "magic")}, "'magic' is no estimator"),
        ({"inner_steps": (0,)}, "--inner-steps must be between 1 .* got 0"),
        ({"batches": 0}, "--batches must be between 1 and 1e.09, got 0"),
        ({"adaptation_steps": (0,)}, "--adaptation-steps needs a positive number"),
        (
            QUICK | {"trained": ()},
            "--trained is empty: name an estimator, .* or use --train-steps=0",
        ),
        (QUICK | {"validation_style": "nowhere"}, "the style folder nowhere does not exist"),
    ],
)
def test_settings_that_no_study_can_use(tmp_path, nothing_measured, changes, message):
    with pytest.raises(UserError, match=message):
        meta_gradient_study.run(
            tiny_config(), meta_gradient_study.Study(**changes), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


PLAIN = {"model.predictor": 0, "model.adjuster": 0, "objective.average_decay": 0.0}
PLAIN |= {"inner.subset": "norm", "outer.subset": "all"}


@pytest.mark.parametrize(
    ("module", "changes", "study", "message"),
    [
        (embedded, {}, {}, "set --config.model.predictor=0$"),
        (
            adjustable,
            {},
            {},
            "set --config.model.adjuster=0 --config.objective.average_decay=0$",
        ),
        (
            meta_adjustable,
            {},
            {"init": "embedded"},
            "set --config.model.predictor=0 --config.model.adjuster=0$",
        ),
        (meta_adjustable, PLAIN, {}, "config.model.init='embedded' .*: give --init=embedded too"),
        (
            embedded,
            PLAIN,
            {"trained": ("exact", "reptile")},
            "--trained=reptile: .*no effect with config.inner.steps=0",
        ),
        (
            embedded,
            PLAIN
            | {"inner.learned_rates": "layer", "inner.steps": 1, "outer.subset": "inner_rates/*"},
            {},
            "config.outer.subset names more than the study measures",
        ),
    ],
)
def test_the_study_refuses_at_once_what_it_would_not_measure(
    tmp_path, nothing_measured, module, changes, study, message
):
    config = configuration.changed(module.get_config(), changes)
    with pytest.raises(UserError, match=message):
        meta_gradient_study.run(
            config, meta_gradient_study.Study(**QUICK | study), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("module", "study"),
    [
        (embedded, {"train_steps": 0, "trained": ()}),
        (meta_adjustable, {"init": "embedded"}),
        (adjustable, {}),
    ],
)
def test_without_predictor_and_sliders_every_configuration_can_be_measured(
    tmp_path, nothing_measured, module, study
):
    config = configuration.changed(module.get_config(), PLAIN)
    with pytest.raises(InterruptedError):
        meta_gradient_study.run(
            config, meta_gradient_study.Study(**QUICK | study), tmp_path / "out"
        )


def test_the_study_of_losses_paints_and_judges_and_goes_on(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    for name in ("content", "style"):
        pixels = random.uniform(0, 255, (40, 48, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    settings = style_loss_settings.LossStudy(
        contents=(str(tmp_path / "content.png"),),
        styles=(str(tmp_path / "style.png"),),
        methods=("linear", "gaussian(0.5)"),
        layers=("relu1_1", "relu2_1"),
        content_layer="relu2_1",
        gammas=(1.0,),
        shares=(0.5,),
        size=32,
        steps=2,
    )
    out = tmp_path / "out"
    with jax.numpy_dtype_promotion("standard"):
        # one figure alone, and then the others in the same folder
        style_loss_study.run(dataclasses.replace(settings, figures=("reconstructions",)), out)
        assert not (out / "balance.csv").exists() and not (out / "gallery.png").exists()
        assert "gallery.png" not in (out / "study.md").read_text()
        style_loss_study.run(settings, out)
        # everything is there: nothing is painted again
        monkeypatch.setattr(style_loss_study.study_pictures, "optimize_pictures", None)
        style_loss_study.run(settings, out)
    for name, columns, rows in (
        ("reconstructions", 2, 2),
        ("gammas", 1, 2),
        ("gallery", 4, 1),
        ("fusions", 1, 2),
    ):
        width, height = Image.open(out / f"{name}.png").size
        assert columns * 32 < width and rows * 32 < height
        assert (out / f"{name}.csv").exists()
    balance = list(csv.DictReader((out / "balance.csv").open()))
    assert [row["method"] for row in balance] == [
        "linear",
        "gaussian(0.5)",
        "bn",
        "poly",
        "gaussian",
    ]
    judged = list(csv.DictReader((out / "cross_loss.csv").open()))
    assert [row["optimized for"] for row in judged] == ["linear", "gaussian(0.5)"]
    assert 0 < float(judged[0]["linear"]) < 1  # nearer to the style than the content is
    assert "gallery.png" in (out / "study.md").read_text()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"styles": ()}, "--contents has 1 pictures and --styles 0"),
        ({"methods": ("mmd",)}, "--methods: .*'mmd'.* is unknown"),
        ({"layers": ("relu9_1",)}, "--layers: .*relu9_1"),
        ({"content_layer": "relu"}, "--content-layer: .*'relu'"),
        ({"methods": ()}, "--methods is empty: give one value at least"),
        ({"layers": ()}, "--layers is empty"),
        ({"gammas": (0.0,)}, "--gammas must be more than 0 .*got 0"),
        ({"shares": (1.0,)}, "--shares must be below 1"),
        ({"size": 8}, "--size must be between 32 .* got 8"),
        ({"figures": ("mosaics",)}, "--figures: 'mosaics' is unknown: use some of recon"),
    ],
)
def test_mistakes_in_the_study_of_losses_are_one_sentence(tmp_path, changes, message):
    changed = {"contents": ("a.png",), "styles": ("b.png",), **changes}
    with pytest.raises(UserError, match=message):
        style_loss_study.run(style_loss_settings.LossStudy(**changed), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_records_without_an_outer_loss_are_no_points_of_the_curves(tmp_path, monkeypatch):
    """Those of validation, with config.validation.styles."""

    def train(config, workdir, *, resume):
        records = [{"step": 1, "outer_loss": 4.0}, {"step": 1, "adaptation_loss_0": 3.0}]
        records.append({"step": 2, "outer_loss": 2.0, "inner_loss_0": 5.0})
        (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in records))

    monkeypatch.setattr(training_curves.meta_training, "train", train)
    rows = training_curves.train(schema.Settings(), "exact", 2, tmp_path)
    assert [(row["step"], row["inner_loss"], row["outer_loss"]) for row in rows] == [
        (1, 4.0, 4.0),
        (2, 5.0, 2.0),
    ]
