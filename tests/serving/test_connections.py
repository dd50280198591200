"""Clients that send nothing, stop halfway or take no answer: the server stays there for others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
import time
from typing import Any, cast

import pytest

pytest.importorskip("fastapi", reason="serving needs the extra serve")

import uvicorn

from metastyle_jax.serving import application, connections

SOON = 5.0  # seconds in which something must have happened that takes a fraction of one
HEADER_SECONDS, SECONDS, MOST = 0.7, 0.7, 3
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
UPLOAD = b"POST /v1/stylize?style=one HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc"
LARGE = 50_000_000  # bytes, more than the buffers of a connection hold


async def app(scope, receive, send):
    """Answers at once; after a while, or at length, where that is asked for."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/late":
        await asyncio.sleep(0.9)
    body = b"x" * (LARGE if scope["path"] == "/large" else 2)
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def serving(app, seconds=SECONDS):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        http = connections.limited(MOST, seconds, HEADER_SECONDS)
        config = uvicorn.Config(app, http=http, log_config=None, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield lambda: connected(listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(30)


def connected(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(SOON)
    return client


@pytest.fixture(scope="module")
def connect():
    with serving(app) as connect:
        yield connect


def answer(client: socket.socket) -> tuple[int, bytes]:
    """(status, body) of an answer with a length, read to its end."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += more(client)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += more(client)
    return int(head.split()[1]), body


def more(client: socket.socket) -> bytes:
    received = client.recv(2**20)
    assert received, "the server closed the connection"
    return received


def is_closed(client: socket.socket) -> bool:
    try:
        while client.recv(2**20):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def ask(connect) -> int:
    with connect() as client:
        client.sendall(REQUEST)
        return answer(client)[0]


def test_those_who_send_nothing_leave_room_for_others(connect):
    silent = [connect() for _ in range(MOST)]
    with connect() as client:
        client.sendall(REQUEST)
        status, body = answer(client)
    assert status == 503 and json.loads(body)["error"].startswith("more than 3 connections")
    assert all(map(is_closed, silent))
    assert ask(connect) == 200


@pytest.mark.parametrize("begin", [b"GET ", UPLOAD], ids=["header", "body"])
def test_what_comes_byte_by_byte_wins_no_time(connect, begin):
    with connect() as client:
        client.sendall(begin)  # a body is answered before its end
        end = time.monotonic() + SOON
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:
                client.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() < end


def test_an_answer_that_nobody_takes_is_given_up(connect):
    with connect() as client:
        client.sendall(REQUEST.replace(b"healthz", b"large"))
        time.sleep(HEADER_SECONDS + SECONDS + 0.5)
        received = 0
        with contextlib.suppress(ConnectionError):
            while part := client.recv(2**20):
                received += len(part)
    assert 0 < received < LARGE
    assert ask(connect) == 200


def test_requests_follow_each_other_on_one_connection(connect):
    with connect() as client:
        for _ in range(4):  # together longer than a header may take
            client.sendall(REQUEST)
            assert answer(client) == (200, b"xx")
            time.sleep(HEADER_SECONDS / 3)
        # the application may take longer than a header, also for one that waits behind another
        late = REQUEST.replace(b"healthz", b"late")
        client.sendall(late + late)
        assert answer(client) == answer(client) == (200, b"xx")


def test_beyond_twice_as_many_nobody_is_heard(connect):
    silent = [connect() for _ in range(2 * MOST)]
    with connect() as client:
        client.settimeout(HEADER_SECONDS / 2)
        assert is_closed(client)
    for each in silent:
        each.close()


def test_an_upload_that_stalls_gets_a_sentence_and_one_that_ends_no_traceback(caplog):
    served = application.make({"one": cast(Any, None)}, {}, application.Limits(seconds=SECONDS))
    with caplog.at_level(logging.INFO), serving(served) as connect:
        with connect() as client:
            client.sendall(UPLOAD)
        with connect() as client:
            client.sendall(UPLOAD)
            status, body = answer(client)
            assert is_closed(client)
        assert status == 408
        assert json.loads(body)["error"].startswith("the picture did not come within 0.7 s")
        with connect() as client:
            client.sendall(REQUEST.replace(b"healthz", b"metrics"))
            shown = answer(client)[1].decode()
    assert 'path="/v1/stylize",status="499"} 1' in shown
    assert "Traceback" not in caplog.text and "Exception" not in caplog.text
