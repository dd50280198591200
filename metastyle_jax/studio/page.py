"""The page: what is on it, and which function of `work` each part calls."""

from __future__ import annotations

import functools
import html
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import gradio.themes
import numpy as np
import pandas as pd

from metastyle_jax.errors import UserError
from metastyle_jax.storage import initialization, style_packs
from metastyle_jax.studio import pad, painting, uploads, work
from metastyle_jax.studio.visits import Visit
from metastyle_jax.studio.work import Limits
from metastyle_jax.stylization import thumbnails
from metastyle_jax.stylization.blending import Regions
from metastyle_jax.stylization.options import COLORS, STRONGEST, Options
from metastyle_jax.stylization.stylizer import Stylizer

_LOG = logging.getLogger(__name__)

TITLE = "metastyle_jax studio"
SLIDERS = 8  # layers that the page has room for
SIZES = [("256 px", 256), ("512 px", 512), ("1024 px", 1024), ("as it is", 0)]
EDITOR_SIDE = 640  # short side of the picture that is painted on, at most
WEBCAM_SIDE = 256
CSS = """
.status { min-height: 1.5em; }
.status.failed { color: var(--error-text-color, #b71c1c); font-weight: 600; }
.bar { height: 8px; border-radius: 4px; background: var(--background-fill-secondary); }
.bar > div { height: 8px; border-radius: 4px; background: var(--color-accent); }
"""
# fonts of the visitor's system: those of Gradio's themes come from another host
THEME = gradio.themes.Soft(
    font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)
DRAWING = {"concurrency_id": "drawing", "concurrency_limit": 1, "show_progress": "hidden"}


def upload(**options: Any) -> gr.Image:
    """A place for a picture, which arrives as the path of its file."""
    place = gr.Image(type="filepath", image_mode=None, **options)
    theirs = place.preprocess

    def path(payload: Any) -> Any:
        return payload.path if payload and payload.path else theirs(payload)

    # theirs opens the file, without the limits and sentences of `uploads`
    place.preprocess = path  # type: ignore[method-assign]
    return place


def say(text: str, *, failed: bool = False) -> str:
    """The line that says what happens."""
    kind = "status failed" if failed else "status"
    return f'<div class="{kind}" role="status">{html.escape(text)}</div>'


def sentence(error: Exception) -> str:
    """What a visitor reads of an error; the log has the rest of an unexpected one."""
    if isinstance(error, UserError | ValueError):
        return str(error)
    _LOG.exception("the studio failed", exc_info=error)
    return "this did not work, and the log of the studio says why: try something else"


def make(
    styles: Mapping[str, Stylizer],
    titles: Mapping[str, str],
    folder: Path | None = None,
    limits: Limits | None = None,
) -> gr.Blocks:
    """The page.

    Args:
      styles: by name; the first one is chosen at first.
      titles: of those that have one.
      folder: for files that visitors download; None for the system's temporary folder.
      limits: None for the defaults.
    """
    page = _Page(styles, titles, folder, limits or Limits())
    # files of visitors who left are deleted every ten minutes
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        page.build()
    blocks.queue(max_size=32, api_open=False)
    return blocks


class _Page:
    """The parts of the page; each method adds one, and connects it."""

    def __init__(
        self,
        styles: Mapping[str, Stylizer],
        titles: Mapping[str, str],
        folder: Path | None,
        limits: Limits,
    ) -> None:
        self.styles, self.titles, self.limits = styles, titles, limits
        self.names = list(styles)
        self.begin = functools.partial(Visit, styles[self.names[0]], root=folder)

    def build(self) -> None:
        self.visit = gr.State(self.begin, delete_callback=Visit.close)
        # counts up when a style was chosen, which draws anew; a choice that failed does not
        self.chosen = gr.State(0)
        gr.Markdown(f"# {TITLE}\nA photograph, a style, and everything that can be moved.")
        with gr.Row():
            with gr.Column():
                self.photograph = upload(
                    label="Photograph",
                    sources=["upload", "webcam", "clipboard"],
                    height=320,
                    elem_id="photograph",
                )
                sample = gr.Button("Take a sample photograph", size="sm", elem_id="sample")
            with gr.Column():
                self.result = gr.ImageSlider(
                    label="Before and after",
                    type="numpy",
                    interactive=False,
                    height=320,
                    elem_id="result",
                )
                self.status = gr.HTML(
                    say("Drop a photograph, or take the sample."), elem_id="status"
                )
                self.picture_file = gr.DownloadButton(
                    "Save the picture", size="sm", interactive=False, elem_id="picture_file"
                )
        self._add_controls()
        with gr.Tabs():
            with gr.Tab("Gallery"):
                self._add_gallery()
            with gr.Tab("Your artwork"):
                self._add_adaptation()
            with gr.Tab("Blend"):
                self._add_blend()
            with gr.Tab("Regions"):
                self._add_regions()
            with gr.Tab("Random"):
                self._add_random()
            with gr.Tab("Webcam"):
                self._add_webcam()
        self._add_downloads()
        sample.click(
            lambda: str(initialization.sample_images("contents")[-1]), None, self.photograph
        )
        drawing = {
            "fn": self.redraw,
            "inputs": [self.visit, self.photograph, *self.controls],
            "outputs": [self.result, self.status, self.picture_file],
            **DRAWING,
        }
        moved = [self.photograph.change, *(each.change for each in self.controls)]
        gr.on(moved, trigger_mode="always_last", **drawing)
        self.chosen.change(self.show_sliders, self.visit, self.sliders).then(**drawing)

    def _add_controls(self) -> None:
        with gr.Row():
            self.strength = gr.Slider(
                0, STRONGEST, 1, step=0.05, label="Strength", elem_id="strength"
            )
            self.stroke = gr.Slider(0.5, 4, 1, step=0.25, label="Stroke size", elem_id="stroke")
            self.colors = gr.Radio(
                [("of the style", COLORS[0]), *((f"photograph, {c}", c) for c in COLORS[1:])],
                value=COLORS[0],
                label="Colors",
                elem_id="colors",
            )
            self.size = gr.Dropdown(SIZES, value=512, label="Short side", elem_id="size")
        labels = _labels(self.styles[self.names[0]])  # of the style that is chosen at first
        with gr.Row(visible=any(labels)) as self.alpha_row:
            self.alphas = [
                gr.Slider(
                    0, 1, 1, step=0.05, visible=bool(label), label=label, elem_id=f"alpha{number}"
                )
                for number, label in enumerate(labels)
            ]
        self.sliders = [self.alpha_row, *self.alphas]
        self.controls = [self.strength, self.stroke, self.colors, self.size, *self.alphas]

    @property
    def _choice(self) -> dict[str, Any]:
        """Outputs of everything that chooses a style, see `_choose`."""
        return {"outputs": [self.chosen, self.status], "show_progress": "hidden"}

    def _add_gallery(self) -> None:
        files = {pack.name: str(pack.thumbnail) for pack in style_packs.index()}
        pictures = [files.get(name) or thumbnails.draw(self.styles[name]) for name in self.names]
        titles = [self.titles.get(name, name) for name in self.names]
        gallery = gr.Gallery(
            list(zip(pictures, titles, strict=True)),
            columns=6,
            height=320,
            allow_preview=False,
            interactive=False,
            label="Styles",
            elem_id="gallery",
        )

        def choose(visit: Visit, event: gr.SelectData) -> Any:
            return _choose(visit, lambda: self.styles[self.names[event.index]])

        gallery.select(choose, self.visit, **self._choice)

    def _add_adaptation(self) -> None:
        with gr.Row():
            self.artwork = upload(
                label="Artwork",
                sources=["upload", "clipboard"],
                height=240,
                elem_id="artwork",
            )
            with gr.Column():
                steps = gr.Slider(1, 200, 50, step=1, label="Steps", elem_id="steps")
                sliders = gr.Checkbox(label="With a slider for each layer", elem_id="sliders")
                with gr.Row():
                    adapt = gr.Button("Adapt", variant="primary", elem_id="adapt")
                    stop = gr.Button("Stop", elem_id="stop")
                    further = gr.Button("Go on", elem_id="further")
                bar = gr.HTML(elem_id="bar")
            curve = gr.LinePlot(
                x="step", y="loss", height=240, label="Loss", buttons=[], elem_id="curve"
            )
        # travels with the press: what is in the visit may change while the press waits in line
        asked = gr.Number(0, precision=0, visible="hidden")
        for button, goes_on in ((adapt, False), (further, True)):
            pressed = button.click(
                lambda visit: visit.stops, self.visit, asked, queue=False, show_progress="hidden"
            )
            pressed.then(
                functools.partial(self.adapt, goes_on),
                [self.visit, asked, self.photograph, self.artwork, steps, sliders],
                [self.result, self.status, bar, curve, self.chosen],
                concurrency_id="adapting",
                concurrency_limit=1,
                show_progress="hidden",
            )
        stop.click(lambda visit: visit.stop(), self.visit, None)

    def _add_blend(self) -> None:
        places = ("Top left", "Top right", "Bottom left", "Bottom right")
        with gr.Row():
            corners = [
                gr.Dropdown(self._choices, value=name, label=place)
                for place, name in zip(places, (self.names * 4)[:4], strict=True)
            ]
        knob = gr.HTML(
            dict(pad.CENTER),
            html_template=pad.HTML,
            css_template=pad.CSS,
            js_on_load=pad.SCRIPT,
            elem_id="pad",
        )

        def choose(visit: Visit, place: Any, *names: str) -> Any:
            return _choose(visit, lambda: work.blended(self.styles, names, place))

        gr.on(
            [knob.change, *(corner.input for corner in corners)],
            choose,
            [self.visit, knob, *corners],
            trigger_mode="always_last",
            **self._choice,
        )

    def _add_regions(self) -> None:
        editor = gr.ImageEditor(
            label="Paint on the photograph",
            type="numpy",
            sources=[],
            transforms=[],
            layers=False,
            brush=gr.Brush(default_size=40, colors=list(painting.COLORS), color_mode="fixed"),
            elem_id="editor",
        )
        titles = ("Elsewhere", "Red", "Blue", "Yellow")
        with gr.Row():
            regions = [
                gr.Dropdown(self._choices, value=name, label=title)
                for title, name in zip(titles, (self.names * 4)[:4], strict=True)
            ]
        draw = gr.Button("Draw the regions", elem_id="regions")

        def background(path: str | None) -> Any:
            try:
                picture = uploads.read(path, uploads.PHOTOGRAPH, self.limits.pixels)
            except UserError:
                return None  # the drawing says what is wrong
            small = uploads.at_most(picture, EDITOR_SIDE)
            return {"background": small, "layers": [], "composite": None}

        def choose(visit: Visit, painted: Any, *names: str) -> Any:
            return _choose(visit, lambda: work.in_regions(self.styles, painted, names))

        self.photograph.change(background, self.photograph, editor, show_progress="hidden")
        draw.click(choose, [self.visit, editor, *regions], **self._choice)

    def _add_random(self) -> None:
        with gr.Row():
            count = gr.Slider(1, 8, 4, step=1, label="How many", elem_id="count")
            seed = gr.Number(0, precision=0, minimum=0, label="Seed", elem_id="seed")
        button = gr.Button("Draw random variations", elem_id="random")
        gallery = gr.Gallery(columns=4, interactive=False, label="Variations", elem_id="variations")

        def vary(
            visit: Visit, path: str | None, count: float, seed: float
        ) -> Iterator[tuple[Any, str]]:
            shown: list[tuple[np.ndarray, str]] = []
            try:
                photograph = uploads.read(path, uploads.PHOTOGRAPH, self.limits.pixels)
                chosen = visit.drawn_with
                for pair in work.random_variations(chosen, photograph, int(count), int(seed)):
                    shown.append(pair)
                    yield shown, say(f"{len(shown)} of {int(count)} variations")
            except Exception as error:
                yield shown, say(sentence(error), failed=True)

        button.click(
            vary, [self.visit, self.photograph, count, seed], [gallery, self.status], **DRAWING
        )

    def _add_webcam(self) -> None:
        with gr.Row():
            camera = gr.Image(
                label="Camera",
                sources=["webcam"],
                streaming=True,
                type="numpy",
                height=240,
                elem_id="camera",
            )
            seen = gr.Image(label="Drawn", interactive=False, height=240, elem_id="frames")

        moved = [self.strength, self.stroke, self.colors, *self.alphas]
        camera.stream(
            self.draw_frame, [self.visit, camera, *moved], seen, stream_every=0.5, **DRAWING
        )

    def _add_downloads(self) -> None:
        with gr.Row():
            pack = gr.Button("Make the style file", elem_id="make_pack")
            pack_file = gr.DownloadButton("Style file", interactive=False, elem_id="pack_file")
            onnx = gr.Button("Make the ONNX file", elem_id="make_onnx")
            onnx_file = gr.DownloadButton("ONNX file", interactive=False, elem_id="onnx_file")

        def offer(write: Callable[[Visit], Any], visit: Visit) -> tuple[Any, str]:
            try:
                path = write(visit)
            except Exception as error:
                return gr.update(), say(sentence(error), failed=True)
            return gr.update(value=str(path), interactive=True), say(f"{path.name} is ready.")

        def offer_onnx(visit: Visit, *alphas: float) -> tuple[Any, str]:
            return offer(lambda visit: work.write_onnx(visit, _weights(visit, alphas)), visit)

        outputs = [pack_file, self.status]
        pack.click(functools.partial(offer, work.write_pack), self.visit, outputs)
        onnx.click(offer_onnx, [self.visit, *self.alphas], [onnx_file, self.status])

    @property
    def _choices(self) -> list[tuple[str, str]]:
        return [(self.titles.get(name, name), name) for name in self.names]

    def show_sliders(self, visit: Visit) -> list[Any]:
        """The row and each slider, labeled by its layer; all at 1."""
        labels = _labels(visit.drawn_with)
        return [
            gr.update(visible=any(labels)),
            *(gr.update(visible=bool(label), label=label, value=1) for label in labels),
        ]

    def redraw(
        self, visit: Visit, path: str | None, *values: Any
    ) -> Iterator[tuple[Any, str, Any]]:
        """The picture, first coarse; what happens; the file of the picture."""
        if not path:
            yield None, say("Drop a photograph, or take the sample."), gr.update(interactive=False)
            return
        strength, stroke, colors, size, *alphas = values
        try:
            photograph = uploads.read(path, uploads.PHOTOGRAPH, self.limits.pixels)
            options = Options(strength, colors, stroke, size or None)
            alpha = _weights(visit, alphas)
            picture = None
            for picture in work.draw(visit.drawn_with, photograph, options, alpha):
                before = work.before_file(visit, path, photograph, min(picture.shape[:2]))
                yield (str(before), picture), say("Drawing ..."), gr.update()
            assert picture is not None  # at least one is drawn
            file = work.write_picture(visit.file("picture.png"), picture)
            height, width = picture.shape[:2]
            done = say(f"{width} x {height} pixels.")
            yield gr.update(), done, gr.update(value=str(file), interactive=True)
        except Exception as error:
            yield gr.update(), say(sentence(error), failed=True), gr.update()

    def draw_frame(
        self,
        visit: Visit,
        picture: np.ndarray | None,
        strength: float,
        stroke: float,
        colors: Any,
        *alphas: float,
    ) -> np.ndarray | None:
        """A picture of the camera, small, as the sliders say."""
        if picture is None or visit.drawn_with is None:
            return None
        options = Options(strength, colors, stroke)
        small = uploads.at_most(picture, WEBCAM_SIDE)
        return list(work.draw(visit.drawn_with, small, options, _weights(visit, alphas)))[-1]

    def adapt(
        self,
        further: bool,
        visit: Visit,
        asked: float,
        path: str | None,
        artwork_path: str | None,
        steps: float,
        sliders: bool,
    ) -> Iterator[tuple[Any, ...]]:
        """The picture, what happens, the progress bar, the curve of the losses, and the choice."""
        same = gr.skip()
        if visit.has_ended(int(asked)):
            yield same, say("Stopped before the first step."), same, same, same
            return
        try:
            photograph = uploads.read(path, uploads.PHOTOGRAPH, self.limits.pixels)
            artwork = uploads.read(artwork_path, uploads.ARTWORK, self.limits.pixels)
            yield same, say("Compiling ..."), _bar(0), same, same
            small = uploads.at_most(photograph, work.TRAINING_SIDE)
            reached = None
            for reached in work.adapt(
                visit,
                photograph,
                artwork,
                steps=int(steps),
                sliders=sliders,
                further=further,
                asked=int(asked),
            ):
                picture = reached.stylizer.draw(small)
                left = (steps - reached.step) * reached.seconds / reached.step
                text = (
                    f"Step {reached.step} of {steps:g}, loss {reached.losses[-1]:.3g}, "
                    f"{left:.0f} s left"
                )
                yield (
                    (small, picture),
                    say(text),
                    _bar(reached.step / steps),
                    _curve(reached.losses),
                    same,
                )
            done = f"Done after {reached.step if reached else 0} steps."
            yield same, say(done), same, same, visit.count_choice()
        except Exception as error:
            yield same, say(sentence(error), failed=True), same, same, same


def _choose(visit: Visit, make_style: Callable[[], Stylizer | Regions]) -> tuple[Any, str]:
    """Draw with another style from now on; what went wrong is a sentence, and nothing changes."""
    try:
        visit.drawn_with = make_style()
    except Exception as error:
        return gr.skip(), say(sentence(error), failed=True)
    return visit.count_choice(), say("Drawing ...")


def _labels(drawn_with: Stylizer | Regions | None) -> list[str]:
    """A layer for each slider of the page; empty for those that stay hidden."""
    layers = work.with_sliders(drawn_with)[:SLIDERS]
    return [*layers, *[""] * (SLIDERS - len(layers))]


def _weights(visit: Visit, alphas: Sequence[float]) -> dict[str, float]:
    layers = work.with_sliders(visit.drawn_with)
    return dict(zip(layers, alphas, strict=False))  # the page has more sliders than layers


def _bar(share: float) -> str:
    percent = round(100 * share)
    return (
        f'<div class="bar" role="progressbar" aria-valuenow="{percent}" aria-label="Adaptation">'
        f'<div style="width:{percent}%"></div></div>'
    )


def _curve(losses: Sequence[float]) -> pd.DataFrame:
    return pd.DataFrame({"step": range(1, len(losses) + 1), "loss": losses})
