"""`metastyle serve` in a process of its own: it answers, and ends when it is told to."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from metastyle_jax.cli import commands, server_flags, style_arguments
from metastyle_jax.errors import UserError
from metastyle_jax.serving import requests
from metastyle_jax.storage import style_packs
from processes import QUICK_COMPILE, ROOT

httpx = pytest.importorskip("httpx", reason="asks the server by httpx")
pytest.importorskip("fastapi", reason="serving needs the extra serve")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--port=99999", "--port must be"),
        ("--max-pixels=1", "--max-pixels must be"),
        ("--seconds=0", "--seconds must be"),
        ("--waiting=-1", "--waiting must be"),
        ("--batch=0", "--batch must be"),
        ("nowhere.safetensors", "nowhere.safetensors"),
    ],
)
def test_bad_flags_are_one_sentence(flag, message):
    with pytest.raises(UserError, match=message):
        commands.main(["serve", flag])


def test_two_styles_of_one_name_are_refused(tmp_path):
    with pytest.raises(UserError, match="two styles have one name"):
        commands.main(["serve", str(tmp_path / "starry_night.safetensors")])


@pytest.mark.parametrize("name", ["Monet, 1899", "a:b", " a", ""])
def test_styles_that_no_request_can_name_are_refused(name, monkeypatch):
    monkeypatch.setattr(style_arguments, "offered", lambda files: {"fine": None, name: None})
    with pytest.raises(UserError, match=f"requests cannot name the style {name!r}: rename"):
        commands.main(["serve"])


def test_every_style_that_is_offered_can_be_named(tmp_path, monkeypatch):
    packs = style_packs.index()[:2]
    monkeypatch.setattr(style_packs, "index", lambda: packs)
    own = tmp_path / "own one.safetensors"
    shutil.copy(packs[0].style_file, own)
    second = f"pack:{packs[1].name}"
    offered = style_arguments.offered([str(own), second, second])
    assert list(offered) == ["own one", packs[1].name, packs[0].name]
    requests.check_names(offered)
    rest = {"alpha": None, "strength": 1.0, "colors": "style", "stroke_size": 1.0, "size": None}
    for name, stylizer in offered.items():
        assert requests.make(offered, name, ending="png", **rest).stylizer is stylizer


@pytest.mark.parametrize(
    ("style", "message"),
    [("pack:nobody", "no style pack 'nobody'"), ("pack:oiran:0.3", "pack:oiran:0.3: .* a share")],
)
def test_packs_that_cannot_be_offered_are_one_sentence(style, message):
    with pytest.raises(UserError, match=message):
        style_arguments.offered([style])


def test_loopback_is_known():
    assert all(map(server_flags.is_loopback, ("127.0.0.1", "::1", "localhost", "127.8.0.1")))
    assert not any(map(server_flags.is_loopback, ("0.0.0.0", "::", "example.org", "10.0.0.1")))


@pytest.mark.slow
def test_sigterm_answers_what_was_taken_first(tmp_path):
    log = tmp_path / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "metastyle_jax", "serve", "--port=0"],
            cwd=tmp_path,
            env={**os.environ, **QUICK_COMPILE, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = _address(server, log)
        file = io.BytesIO()
        Image.fromarray(np.zeros((500, 700, 3), np.uint8)).save(file, "PNG")
        answers = []

        def ask():
            query = {"style": "starry_night", "format": "png"}
            answers.append(
                httpx.post(
                    f"{address}/v1/stylize", params=query, content=file.getvalue(), timeout=100
                )
            )

        asking = threading.Thread(target=ask)
        asking.start()
        while "metastyle_queue 1" not in httpx.get(f"{address}/metrics").text and not answers:
            time.sleep(0.01)
        server.send_signal(signal.SIGTERM)
        asking.join(100)
        assert answers[0].status_code == 200
        assert Image.open(io.BytesIO(answers[0].content)).size == (700, 500)
        assert server.wait(30) == 0
    finally:
        server.kill()
    assert "Traceback" not in log.read_text()


def _address(server: subprocess.Popen, log) -> str:
    for _ in range(1200):
        found = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
        if found and found[1] != "0":
            try:
                httpx.get(f"{found[0]}/healthz")
                return found[0]
            except httpx.ConnectError:
                pass
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())
