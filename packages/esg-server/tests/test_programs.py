"""What programs do with a Server that they make themselves, as they do it with uvicorn's."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from esg import Config, Server

Get = Callable[..., Any]


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def config() -> Config:
    return Config(app, port=0, log_config=None)


def test_a_server_that_says_when_it_has_started_and_stopped(get: Get) -> None:
    class Told(Server):
        steps: list[str] = []

        async def startup(self, *args: Any, **options: Any) -> None:
            await super().startup(*args, **options)
            self.steps.append(f"started: {self.started}")

        async def shutdown(self) -> None:
            self.steps.append("shutdown")
            await super().shutdown()

    async def main() -> None:
        server = Told(config())
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0)
        assert (await get(server.addresses[0])).startswith(b"HTTP/1.1 204 ")
        server.should_exit = True
        await serving

    asyncio.run(main())
    assert Told.steps == ["started: True", "shutdown"]


def test_a_server_that_has_a_say_in_signals() -> None:
    class Told(Server):
        caught: list[int] = []

        def handle_exit(self, number: int, frame: FrameType | None) -> None:
            self.caught.append(number)
            super().handle_exit(number, frame)

    async def main() -> None:
        server = Told(config())
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0)
        signal.raise_signal(signal.SIGTERM)
        await serving

    previous = signal.signal(signal.SIGTERM, lambda number, frame: Told.caught.append(-number))
    try:
        asyncio.run(main())
    finally:
        signal.signal(signal.SIGTERM, previous)
    # Handled, and raised again when all is over, for the handler that was there before.
    assert Told.caught == [signal.SIGTERM, -signal.SIGTERM]


def test_a_server_in_a_thread_is_asked_whether_it_has_started() -> None:
    server = Server(config())
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        thread.join(0.001)
    assert server.started
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["serve", "run"])
def test_a_server_that_has_been_stopped_does_not_start(kind: str) -> None:
    server = Server(config())
    server.should_exit = True
    if kind == "run":
        server.run()
    else:
        asyncio.run(server.serve())
    assert not server.started
