"""The HTTP interface: FastAPI, with limits on everything that a stranger can send."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

import metastyle_jax
from metastyle_jax.errors import UserError
from metastyle_jax.serving import requests
from metastyle_jax.serving.drawing_queue import DrawingQueue, Expired, Full
from metastyle_jax.serving.gathering import Gathering
from metastyle_jax.stylization import tiling
from metastyle_jax.stylization.options import COLORS, STROKE_SIZES, STRONGEST
from metastyle_jax.stylization.stylizer import Stylizer

_PICTURES = {"image/jpeg": {}, "image/png": {}, "image/webp": {}, "application/octet-stream": {}}
_GONE = 499  # what nginx counts a client as that leaves before it is answered
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one request, and all together, may take.

    Attributes:
      body: bytes of a picture.
      pixels: of a picture, and of what is drawn.
      waiting: requests that wait for their turn.
      seconds: from the header of a request to its answer.
    """

    body: int = 20_000_000
    pixels: int = 16_000_000
    waiting: int = 16
    seconds: float = 60.0


class Style(BaseModel):
    """A style that is served."""

    name: str
    title: str = ""
    artist: str = ""
    year: str = ""
    layers: list[str] = []  # with sliders, see alpha


class Problem(BaseModel):
    """One sentence."""

    error: str


def _problem(status: int, text: str, **headers: str) -> HTTPException:
    return HTTPException(status, text, headers or None)


def make(
    styles: Mapping[str, Stylizer],
    about: Mapping[str, Mapping[str, str]],
    limits: Limits | None = None,
    gathering: Gathering | None = None,
) -> FastAPI:
    """The application.

    Args:
      styles: by the names under which they are served.
      about: title, artist and year of those that have them.
      limits: None for the defaults.
      gathering: draws small pictures together; None draws one picture after the other.
    """
    limits = limits or Limits()
    threads, stylize_picture = (
        (gathering.threads, gathering.stylize) if gathering else (1, tiling.stylize)
    )
    queue = DrawingQueue(limits.waiting, threads)
    checking = ThreadPoolExecutor(1, "checking")  # some headers and blends take their time
    answers: Counter[tuple[str, int]] = Counter()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(queue.close)
        checking.shutdown()

    app = FastAPI(
        title="metastyle_jax",
        version=metastyle_jax.__version__,
        summary="Pictures in the styles of artworks.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from another host
        redoc_url=None,
    )
    _speak_in_sentences(app)

    @app.middleware("http")
    async def count(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        route = request.scope.get("route")
        answers[getattr(route, "path", "other"), response.status_code] += 1
        return response

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Counters in the text format of Prometheus."""
        return _metrics(queue, gathering, answers)

    @app.get("/v1/packs")
    async def packs() -> list[Style]:
        """The styles that `style` may name."""
        return [
            Style(
                name=name,
                layers=list(each.sliders.layers) if each.sliders else [],
                **about.get(name, {}),
            )
            for name, each in styles.items()
        ]

    @app.post(
        "/v1/stylize",
        response_class=Response,
        responses={
            200: {"content": dict.fromkeys(requests.CONTENT_TYPES.values(), _BINARY)},
            **{
                status: {"model": Problem, "description": text}
                for status, text in {
                    400: "The blend is of too many styles.",
                    408: "The picture did not come in time.",
                    413: "The picture is too large.",
                    415: "The body is no picture that is read here.",
                    422: "A value cannot be used, or the picture is damaged.",
                    429: "Too many requests wait already.",
                    503: "The picture took too long.",
                }.items()
            },
        },
        openapi_extra={
            "requestBody": {"required": True, "content": dict.fromkeys(_PICTURES, _BINARY)}
        },
    )
    async def stylize(
        request: Request,
        style: Annotated[str, Query(description="NAME, or a blend: NAME:SHARE,NAME:SHARE")],
        strength: Annotated[float, Query(ge=0, le=STRONGEST)] = 1.0,
        colors: Annotated[str, Query(json_schema_extra={"enum": list(COLORS)})] = "style",
        stroke_size: Annotated[float, Query(ge=STROKE_SIZES[0], le=STROKE_SIZES[1])] = 1.0,
        size: Annotated[int | None, Query(ge=16, le=16384, description="short side, px")] = None,
        alpha: Annotated[str | None, Query(description="LAYER:WEIGHT,LAYER:WEIGHT")] = None,
        format: Annotated[str, Query(json_schema_extra={"enum": list(requests.CONTENT_TYPES)})] = (
            "jpg"
        ),
    ) -> Response:
        """The picture in the body, in a style."""
        loop = asyncio.get_running_loop()
        end = loop.time() + limits.seconds
        make = functools.partial(
            requests.make,
            styles,
            style,
            alpha=alpha,
            strength=strength,
            colors=colors,
            stroke_size=stroke_size,
            size=size,
            ending=format,
        )
        with _sentences(limits):
            async with asyncio.timeout_at(end):
                wanted = await loop.run_in_executor(checking, make)
        data = await _body(request, limits, end)
        check = functools.partial(requests.check_picture, wanted, data, limits.pixels)

        def draw(check: Callable[[float], None]) -> bytes:
            return requests.draw(wanted, data, check, stylize_picture)

        with _sentences(limits):
            async with asyncio.timeout_at(end):
                await loop.run_in_executor(checking, check)
                future = queue.submit(draw, end - loop.time())
                drawn = await asyncio.wrap_future(future)
        return Response(drawn, media_type=requests.CONTENT_TYPES[wanted.ending])

    return app


async def _body(request: Request, limits: Limits, end: float) -> bytes:
    """The body, refused as soon as it is too long or too late."""
    said = request.headers.get("content-length", "0")
    too_long = _problem(413, f"the picture has more than {limits.body} bytes: make it smaller")
    if said.isdecimal() and int(said) > limits.body:
        raise too_long
    data = bytearray()
    try:
        async with asyncio.timeout_at(end):
            async for part in request.stream():
                data += part
                if len(data) > limits.body:
                    raise too_long
    except TimeoutError as error:
        text = f"the picture did not come within {limits.seconds:g} s: send a smaller one"
        raise _problem(408, text, Connection="close") from error
    except ClientDisconnect as error:  # nobody reads the answer, but it is counted
        raise _problem(_GONE, "the client went away") from error
    if not data:
        raise _problem(415, "the body is empty: send the bytes of a picture")
    return bytes(data)


@contextlib.contextmanager
def _sentences(limits: Limits) -> Iterator[None]:
    """What goes wrong in drawing becomes an answer with one sentence."""
    try:
        yield
    except requests.NoPicture as error:
        raise _problem(415, str(error)) from error
    except requests.TooManyStyles as error:
        raise _problem(400, str(error)) from error
    except requests.TooLarge as error:
        raise _problem(413, str(error)) from error
    except UserError as error:
        raise _problem(422, str(error)) from error
    except Full as error:
        text = f"{limits.waiting} requests wait already: try again later"
        raise _problem(429, text, **{"Retry-After": "1"}) from error
    except (Expired, TimeoutError) as error:
        text = f"the picture was not drawn within {limits.seconds:g} s: give a smaller size"
        raise _problem(503, text, **{"Retry-After": "1"}) from error


def _speak_in_sentences(app: FastAPI) -> None:
    """Every error is `{"error": SENTENCE}`."""

    @app.exception_handler(StarletteHTTPException)
    async def of_http(request: Request, error: StarletteHTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def of_values(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{where}: {first['msg'].lower()}"}, 422)


def _metrics(
    queue: DrawingQueue, gathering: Gathering | None, answers: Mapping[tuple[str, int], int]
) -> str:
    lines = [
        "# TYPE metastyle_answers_total counter",
        *(
            f'metastyle_answers_total{{path="{path}",status="{status}"}} {count}'
            for (path, status), count in sorted(answers.items())
        ),
        "# TYPE metastyle_pictures_total counter",
        f"metastyle_pictures_total {queue.counts.drawn}",
        "# TYPE metastyle_drawing_seconds_total counter",
        f"metastyle_drawing_seconds_total {queue.counts.seconds:.3f}",
        "# TYPE metastyle_queue gauge",
        f"metastyle_queue {queue.length}",
    ]
    if gathering:
        lines += [
            "# TYPE metastyle_batches_total counter",
            f"metastyle_batches_total {gathering.batches}",
        ]
    return "\n".join(lines) + "\n"
