"""Connections: how many there are, and how long each may take.

Uvicorn bounds neither the time until a request has come, nor the time in which an answer is taken.
Clients that send nothing, or take nothing, would stay for ever, and once there are as many as may
be, nobody else would be answered. What an application does with a request ends by itself.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sized
from typing import Any, cast

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0  # a slow line needs less for the few kB of a header


def limited(
    most: int, seconds: float, header_seconds: float = HEADER_SECONDS
) -> type[asyncio.Protocol]:
    """What `uvicorn.Config` takes as `http`.

    Args:
      most: connections that are answered; further ones get a sentence (503), and those beyond
        twice as many nothing.
      seconds: that the application takes for a request; as many are left to take the answer.
      header_seconds: in which the header of a request has to come, since the connection was made
        or the last answer was taken.
    """
    limits = {"most": most, "seconds": seconds, "header_seconds": header_seconds}
    return type("Connection", (_Connection,), limits)


class _Connection(H11Protocol):
    """One connection, which ends when its time is over. Idle ones end earlier, by Uvicorn."""

    most: int
    seconds: float
    header_seconds: float
    _timer: asyncio.TimerHandle | None = None
    _asked = False  # a request is with the application

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        app = cast(ASGIApp, self.app)
        self.app = cast(Any, functools.partial(_answer, app, self.connections, self.most))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > 2 * self.most:
            transport.abort()  # files of this process are few, too
        self._end_in(self.header_seconds)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # bytes alone win no time: a header may come byte by byte
        if not self._asked and self._is_asked():
            self._asked = True
            self._end_in(self.seconds + self.header_seconds)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._asked = self._is_asked()  # by a request that was there already
        untaken = self.transport.get_write_buffer_size() > 0
        more = self.seconds if self._asked or untaken else 0.0
        self._end_in(more + self.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    def _is_asked(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end_in(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        # not `close`, which waits until all that was written is taken
        self._timer = self.loop.call_later(seconds, self.transport.abort)


async def _answer(
    app: ASGIApp, connections: Sized, most: int, scope: Scope, receive: Receive, send: Send
) -> None:
    """The application, or a sentence where there are too many connections."""
    if len(connections) > most and scope["type"] == "http":
        text = f"more than {most} connections are open: try again later"
        headers = {"Retry-After": "1", "Connection": "close"}
        await JSONResponse({"error": text}, 503, headers)(scope, receive, send)
    else:
        await app(scope, receive, send)
