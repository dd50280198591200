"""Requests over HTTP: what is drawn, and every way to be refused."""

from __future__ import annotations

import dataclasses
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from PIL import Image

import tiny
from metastyle_jax.serving import requests
from metastyle_jax.stylization import blending, small_pictures
from metastyle_jax.stylization.sliders import Sliders
from metastyle_jax.stylization.stylizer import Record, Stylizer

pytest.importorskip("fastapi", reason="serving needs the extra serve")

from fastapi.testclient import TestClient

from metastyle_jax.serving import application
from metastyle_jax.serving.application import Limits
from metastyle_jax.serving.gathering import Gathering

LAYERS = ("relu1_1", "relu1_2")


def float32(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tree)


@pytest.fixture(scope="module")
def styles():
    params, other = float32(tiny.parameters(0)), float32(tiny.parameters(1))
    network = tiny.adjustable_parameters(len(LAYERS))
    one = Stylizer(params["weights"], params["style"], 0.0, Record("one", {}, "tiny", "digest"))
    two = dataclasses.replace(one, style=other["style"], record=Record("two", {}, "tiny", "digest"))
    moved = Sliders(network["adjuster"], params["style"], LAYERS)
    return {"one": one, "two": two, "sliders": dataclasses.replace(one, sliders=moved)}


@pytest.fixture
def client(styles):
    about = {"one": {"title": "One", "artist": "Nobody", "year": "1900"}}
    with TestClient(application.make(styles, about, Limits(100_000, 10_000))) as client:
        yield client


def picture(width=40, height=24, mode="RGB", seed=0) -> np.ndarray:
    channels = len(mode)
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(pixels: np.ndarray, kind="PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def post(client, data, **query):
    return client.post(
        "/v1/stylize", params={"style": "one", "format": "png", **query}, content=data
    )


def test_a_picture_is_drawn_as_from_python(client, styles):
    pixels = picture()
    answer = post(client, encoded(pixels), strength=0.5)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(decoded(answer.content), styles["one"](pixels, strength=0.5))


def test_blends_and_sliders_are_drawn_as_from_python(client, styles):
    pixels = picture(seed=1)
    answer = post(client, encoded(pixels), style="one:3,two:1")
    blend = blending.blend([(styles["one"], 0.75), (styles["two"], 0.25)])
    np.testing.assert_array_equal(decoded(answer.content), blend(pixels))
    answer = post(client, encoded(pixels), style="sliders", alpha="relu1_1:0.25")
    expected = styles["sliders"](pixels, alpha={"relu1_1": 0.25})
    np.testing.assert_array_equal(decoded(answer.content), expected)


def test_transparency_and_formats_stay(client):
    pixels = picture(mode="RGBA")
    drawn = decoded(post(client, encoded(pixels), size=48).content)
    assert drawn.shape == (48, 80, 4) and drawn[..., 3].std() > 10
    for ending, kind in (("jpg", "JPEG"), ("webp", "WEBP"), ("tif", "TIFF")):
        answer = post(client, encoded(pixels), format=ending)
        assert Image.open(io.BytesIO(answer.content)).format == kind
        assert answer.headers["content-type"] == requests.CONTENT_TYPES[ending]


def test_another_size_compiles_nothing(client, programs):
    post(client, encoded(picture(64, 48)))
    before = programs()
    for side in (17, 33, 50, 61):
        assert post(client, encoded(picture(side, 80 - side))).status_code == 200
    assert programs() == before


def test_the_styles_are_listed(client):
    listed = {each["name"]: each for each in client.get("/v1/packs").json()}
    assert list(listed) == ["one", "two", "sliders"]
    assert listed["one"]["artist"] == "Nobody" and listed["sliders"]["layers"] == list(LAYERS)


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"style": "three"}, 422, "there is no style 'three', see /v1/packs"),
        ({"style": "one:x,two:1"}, 422, "shares as numbers"),
        ({"style": "one:-1,two:1"}, 422, "the shares of a blend are 0 or more"),
        ({"style": "../../etc/passwd"}, 422, "there is no style"),
        ({"style": ",".join(["one"] * 33)}, 400, "names more than 32 styles"),
        ({"strength": 2}, 422, "strength: input should be less than or equal to 1.5"),
        ({"strength": "nan"}, 422, "strength"),
        ({"colors": "odd"}, 422, "colors is one of"),
        ({"size": 8}, 422, "size: input should be greater than or equal to 16"),
        ({"format": "gif"}, 422, "format=gif is unknown"),
        ({"alpha": "relu1_1:0.5"}, 422, "no weights of layers to choose"),
        ({"style": "sliders", "alpha": "relu1_1:2"}, 422, "between 0 and 1"),
        ({"style": "sliders", "alpha": "relu9_9:1"}, 422, "no weight for relu9_9"),
        ({"style": "one:inf"}, 422, "their sum is finite"),
        ({"style": "one:1e308,two:1e308"}, 422, "their sum is finite"),
        ({"size": 200}, 413, "at most 10000 are drawn here"),
        # with fine strokes the network sees a larger picture
        ({"stroke_size": 0.25}, 413, "15360 as drawn"),
        ({"stroke_size": 0.5, "size": 48}, 413, "a larger stroke_size"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(client, query, status, words):
    answer = post(client, encoded(picture()), **query)
    assert answer.status_code == status
    assert words in answer.json()["error"] and "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 415, "the body is empty"),
        (b"no picture", 415, "not an image of a known format"),
        (encoded(picture(64, 64), "ICO"), 415, "not an image of a known format"),
        (b"x" * 100_001, 413, "more than 100000 bytes"),
        (encoded(picture(200, 100)), 413, "200x100 pixels"),
        (encoded(picture(8, 8)), 422, "too small"),
        (encoded(picture(seed=3), "JPEG")[:-200], 422, "truncated or damaged"),
    ],
)
def test_bodies_that_cannot_be_used_are_one_sentence(client, data, status, words):
    answer = post(client, data)
    assert answer.status_code == status
    assert words in answer.json()["error"] and "\n" not in answer.json()["error"]


def test_blends_and_headers_hold_up_nobody_and_end_in_time(styles, monkeypatch):
    threads, go_on = [], threading.Event()
    make, check = requests.make, requests.check_picture

    def watched(*args, **options):
        threads.append(threading.current_thread().name)
        return make(*args, **options)

    def slow(*args):
        threads.append(threading.current_thread().name)
        go_on.wait(30)
        check(*args)

    monkeypatch.setattr(requests, "make", watched)
    monkeypatch.setattr(requests, "check_picture", slow)
    limits = Limits(seconds=0.5)
    with TestClient(application.make(styles, {}, limits)) as client:
        answer = post(client, encoded(picture()), style=",".join(["one", "two"] * 16))
        go_on.set()
    assert answer.status_code == 503 and "not drawn within 0.5 s" in answer.json()["error"]
    assert threads == ["checking_0"] * 2


@pytest.mark.parametrize(("ending", "side"), [("webp", 16_384), ("jpg", 65_501)])
def test_a_format_that_does_not_hold_the_drawing_is_one_sentence(styles, monkeypatch, ending, side):
    monkeypatch.setattr(requests, "draw", lambda *_: 1 / 0)
    with TestClient(application.make(styles, {})) as client:
        answer = post(client, encoded(np.zeros((16, side, 3), np.uint8)), format=ending)
    assert answer.status_code == 422 and f"{side}x16 pixels" in answer.json()["error"]


def test_a_body_without_its_length_is_bounded_too(client):
    parts = (b"x" * 10_000 for _ in range(1000))
    answer = client.post("/v1/stylize", params={"style": "one"}, content=parts)
    assert answer.status_code == 413


def test_a_full_line_and_a_late_picture_are_refused_and_the_next_is_drawn(styles, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    draw = requests.draw

    def slow(request, data, check, stylize):
        begun.set()
        go_on.wait(30)
        check(0.0)
        return draw(request, data, check, stylize)

    monkeypatch.setattr(requests, "draw", slow)
    limits = Limits(waiting=0, seconds=1.0)
    with TestClient(application.make(styles, {}, limits)) as client:
        answers = []
        first = threading.Thread(target=lambda: answers.append(post(client, encoded(picture()))))
        first.start()
        assert begun.wait(30)
        refused = post(client, encoded(picture()))
        assert refused.status_code == 429 and "wait already" in refused.json()["error"]
        assert refused.headers["retry-after"] == "1"
        assert client.get("/healthz").json() == {"status": "ok"}
        first.join(30)
        assert answers[0].status_code == 503
        assert "not drawn within 1 s" in answers[0].json()["error"]
        go_on.set()
        monkeypatch.setattr(requests, "draw", draw)
        while (answer := post(client, encoded(picture()))).status_code == 429:
            pass
        assert answer.status_code == 200
        shown = client.get("/metrics").text
    assert 'metastyle_answers_total{path="/v1/stylize",status="503"} 1' in shown
    assert "metastyle_pictures_total 1" in shown and "metastyle_queue 0" in shown


def test_requests_that_wait_together_are_drawn_together(styles, monkeypatch):
    gathering, stylize, counts = Gathering(2), small_pictures.stylize, []

    def after_others_came(weights, pictures, side, count):
        counts.append(len(pictures))
        end = time.monotonic() + 30
        while len(counts) == 1 and len(gathering._line) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        return stylize(weights, pictures, side, count)

    monkeypatch.setattr(small_pictures, "stylize", after_others_came)
    with TestClient(application.make(styles, {}, None, gathering)) as client:
        names, sizes = ("one", "two", "one", "two", "one"), ((40, 24), (17, 64), (30, 31)) * 2
        pictures = [picture(*size, seed=i) for i, size in enumerate(sizes[:5])]

        def ask(index):
            return decoded(post(client, encoded(pictures[index]), style=names[index]).content)

        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(ask, range(5)))
        for name, given, answer in zip(names, pictures, answers, strict=True):
            difference = answer.astype(int) - styles[name](given)
            assert answer.shape == given.shape and np.abs(difference).max() <= 1
        shown = client.get("/metrics").text
    assert counts[:2] == [1, 2] and sum(counts) == 5
    assert "metastyle_pictures_total 5" in shown
    assert f"metastyle_batches_total {gathering.batches}" in shown


def test_nothing_is_loaded_from_elsewhere(client):
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404
    assert client.get("/nowhere").json() == {"error": "Not Found"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_answers_are_those_of_the_openapi_document(styles, monkeypatch):
    """Against schemathesis, which makes requests from the document and checks the answers."""
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    import hypothesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    # names of styles and layers are not in the document
    monkeypatch.setattr(requests, "draw", lambda request, data, check, stylize: data)
    app = application.make(styles, {}, Limits(seconds=5.0))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    for operation in schema.get_all_operations():
        cases = operation.ok().as_strategy()

        @hypothesis.settings(
            max_examples=25, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(case=cases)
        def check(case):
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        check()
