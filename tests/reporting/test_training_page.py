"""The page of a training: whole, safe, and drawn to scale."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from metastyle_jax.cli import commands
from metastyle_jax.errors import UserError
from metastyle_jax.reporting.line_charts import line_chart
from metastyle_jax.settings import schema


def points(chart: str) -> list[np.ndarray]:
    """(N, 2) places of the corners of each line; the chart must be well-formed."""
    lines = [e for e in ElementTree.fromstring(chart).iter() if e.get("class") == "line"]
    return [np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", e.get("d", "")), float) for e in lines]


def test_lines_are_drawn_to_scale():
    """Equal differences, or equal ratios, are equal distances; larger is higher."""
    for values, logarithmic in (([1, 2, 3, 4], False), ([1, 10, 100, 1000], True)):
        (line,) = points(line_chart("t", [10, 20, 30, 40], {"a": values}, logarithmic=logarithmic))
        steps = np.diff(line, axis=0)
        np.testing.assert_allclose(steps - steps[0], 0, atol=0.11)  # one decimal
        assert steps[0, 0] > 50 and steps[0, 1] < -50


def test_what_is_missing_leaves_a_gap():
    chart = line_chart("t", range(5), {"a": [1, 2, np.nan, 3, 4]}, logarithmic=False)
    assert re.search(r'd="M[^ML]*L[^ML]*M[^ML]*L[^ML]*"', chart.split('class="line"')[1])
    (line,) = points(line_chart("t", range(3), {"a": [0, 1, 10]}, logarithmic=True))
    assert len(line) == 2
    assert line_chart("t", range(2), {"a": [np.nan, np.inf]}, logarithmic=False) == ""
    (flat,) = points(line_chart("t", range(2), {"a": [3, 3]}, logarithmic=False))
    assert flat[0, 1] == flat[1, 1]


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "<b>run"
    (folder / "sheets").mkdir(parents=True)
    records = [
        {"step": step, "outer_loss": 5 / step, "outer_content": 1.0, "steps_per_second": 2.0}
        for step in range(1, 21)
    ]
    records[4]["warnings"] = ["<script>alert(1)</script> & more"]
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "metrics.jsonl").write_text(text + '5\n{"step": 21, "outer')
    settings = schema.flatten(schema.Settings()) | {"outer.steps": 20, "data.content": "a<i>&b"}
    (folder / "config.json").write_text(json.dumps(settings))
    for step in (5, 10, 15, 20, 25, 30):
        Image.new("RGB", (1500, 20), (step, 0, 0)).save(folder / f"sheets/step_{step:07d}.png")
    return folder


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.names: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_needs_nothing_else_and_runs_nothing(workdir, tmp_path, capsys):
    out = tmp_path / "page.html"
    commands.main(["report", str(workdir), f"--out={out}"])
    assert str(out) in capsys.readouterr().out
    page = out.read_text()
    found = Elements()
    found.feed(page)
    # what files say is text, never markup
    assert not {"script", "b", "i", "link"} & found.names
    assert "step 5: <script>alert(1)</script> & more" in found.words and "a<i>&b" in found.words
    assert len(found.sources) == 4  # of six sheets the first, the last and some between
    assert all(source.startswith("data:image/jpeg;base64,") for source in found.sources)
    assert "url(" not in page and "@import" not in page
    words = " ".join(found.words)
    assert "step 5 " in words and "step 30 " in words
    # the mean of the last nine records, and the hours, by hand
    assert f"{np.mean([5 / step for step in range(12, 21)]):.4g}" in found.words
    assert f"{20 / 2 / 3600:.2f}" in found.words


def test_no_file_of_the_training_is_written_over_and_a_damaged_sheet_is_left_out(workdir):
    with pytest.raises(UserError, match=r"not a page: give a name that ends in \.html"):
        commands.main(["report", str(workdir), f"--out={workdir / 'config.json'}"])
    assert "outer.steps" in (workdir / "config.json").read_text()
    (workdir / "sheets" / "step_0000030.png").write_bytes(b"no picture")
    commands.main(["report", str(workdir)])
    assert (workdir / "report.html").read_text().count("<img") == 3


def test_settings_that_are_not_the_default_come_first(workdir):
    commands.main(["report", str(workdir)])
    page = (workdir / "report.html").read_text()
    changed = page.split("Settings that are not the default")[1].split("<details>")[0]
    assert re.findall(r"<th>(.*?)</th>", changed) == ["data.content", "outer.steps"]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("metrics.jsonl", None, "metrics.jsonl cannot be read"),
        ("metrics.jsonl", '{"step', "no record yet"),
        ("config.json", None, "config.json cannot be read"),
        ("config.json", "{", "config.json is damaged"),
    ],
)
def test_a_folder_without_a_training_is_one_sentence(workdir, name, text, message):
    (workdir / name).unlink()
    if text is not None:
        (workdir / name).write_text(text)
    with pytest.raises(UserError, match=message):
        commands.main(["report", str(workdir)])
    assert not (workdir / "report.html").exists()


def test_a_page_below_the_home_folder(workdir, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    commands.main(["report", str(workdir), "--out=~/page.html"])
    assert (tmp_path / "page.html").is_file() and not (tmp_path / "~").exists()


def test_a_training_whose_name_is_not_utf_8(workdir):
    named = workdir.rename(workdir.with_name("caf\udce9"))
    commands.main(["report", str(named)])
    assert "<h1>caf\\udce9</h1>" in (named / "report.html").read_text(encoding="utf-8")
