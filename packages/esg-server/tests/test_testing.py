"""An application served inside a test, with the clients that people use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import esg
import httpx
import pytest
from esg.config import StartupError
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect

Project = Callable[..., Path]

# Of clients: their own few seconds are too few for a machine that stands still now and then.
PATIENCE = 30.0


class App:
    """Answers with what it has seen; a WebSocket gets it too."""

    def __init__(self, failure: str | None = None) -> None:
        self.failure = failure
        self.seen: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        text = json.dumps([scope["scheme"], self.seen, threading.current_thread() is threading.main_thread()])
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": text})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": text.encode()})

    async def live(self, receive: Any, send: Any) -> None:
        self.seen.append((await receive())["type"])
        if self.failure is not None:
            await send({"type": "lifespan.startup.failed", "message": self.failure})
            return
        await send({"type": "lifespan.startup.complete"})
        self.seen.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})


def threads() -> list[threading.Thread]:
    """Those of servers; clients have some as well."""
    return [thread for thread in threading.enumerate() if thread.name == "esg.testing"]


LIVED = ["lifespan.startup", "lifespan.shutdown"]


@pytest.fixture(params=["auto", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_in_a_thread(loop: str) -> None:
    app = App()
    with esg.testing.serve(app, loop=loop) as url:
        assert url.startswith("http://127.0.0.1:")
        assert len(threads()) == 1
        assert httpx.get(url, timeout=PATIENCE).json() == ["http", ["lifespan.startup"], False]
        with connect(url.replace("http", "ws", 1), open_timeout=PATIENCE) as websocket:
            assert json.loads(websocket.recv()) == ["ws", ["lifespan.startup"], False]
    assert app.seen == LIVED
    assert not threads()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=PATIENCE)


def test_in_the_running_loop() -> None:
    app = App()

    async def main() -> None:
        async with esg.testing.serve(app) as url:
            async with httpx.AsyncClient(timeout=PATIENCE) as client:
                assert (await client.get(url)).json() == ["http", ["lifespan.startup"], True]
            async with connect_async(url.replace("http", "ws", 1), open_timeout=PATIENCE) as websocket:
                assert json.loads(await websocket.recv()) == ["ws", ["lifespan.startup"], True]

    asyncio.run(main())
    assert app.seen == LIVED


def test_in_a_thread_beside_a_running_loop() -> None:
    async def main() -> None:
        with esg.testing.serve(App()) as url:
            async with httpx.AsyncClient(timeout=PATIENCE) as client:
                assert (await client.get(url)).json()[2] is False

    asyncio.run(main())


def test_options_and_the_server_itself() -> None:
    serving = esg.testing.serve(App(), root_path="/api", headers=("X-Test:1",))
    for _ in range(2):
        with serving as url:
            answer = httpx.get(url, timeout=PATIENCE)
            assert answer.headers["x-test"] == "1"
            assert serving.server.context is not None
            assert serving.server.context.counters.requests == 1


def test_several_at_once() -> None:
    with esg.testing.serve(App()) as one, esg.testing.serve(App()) as other:
        assert one != other
        assert [httpx.get(url, timeout=PATIENCE).status_code for url in (one, other)] == [200, 200]


@pytest.mark.parametrize("host", ["0.0.0.0", "::1", "::", "localhost"])
def test_hosts(host: str) -> None:
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(esg.testing.serve(App(), host=host))
        except StartupError as error:
            assert ":" in host, error
            pytest.skip("there is no IPv6 here")
        assert httpx.get(url, timeout=PATIENCE).status_code == 200


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with (
        esg.testing.serve(App(), uds=path) as url,
        httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client,
    ):
        assert client.get(url).status_code == 200


def test_tls(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    file = tmp_path / "certificate.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(file))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with esg.testing.serve(App(), host="localhost", ssl_certfile=str(file)) as url:
        assert url.startswith("https://localhost:")
        assert httpx.get(url, verify=context, timeout=PATIENCE).json()[0] == "https"
        with connect(url.replace("http", "ws", 1), ssl=context, open_timeout=PATIENCE) as websocket:
            assert json.loads(websocket.recv())[0] == "wss"


def test_a_start_that_fails() -> None:
    app = App("no database")
    with pytest.raises(StartupError, match="^Application startup failed: no database$"), esg.testing.serve(app):
        pytest.fail("it has started")

    async def main() -> None:
        async with esg.testing.serve(app):
            pytest.fail("it has started")

    with pytest.raises(StartupError, match="^Application startup failed: no database$"):
        asyncio.run(main())
    assert not threads()


def test_what_the_application_raised_is_the_cause() -> None:
    def create() -> Any:
        raise KeyError("DATABASE_URL")

    with pytest.raises(StartupError) as caught, esg.testing.serve(create, factory=True):
        pytest.fail("it has started")
    assert isinstance(caught.value.__cause__, KeyError)


def test_by_name(project: Project) -> None:
    project(example="async def app(scope, receive, send): raise NotImplementedError")
    with esg.testing.serve("example:app") as url:
        assert httpx.get(url, timeout=PATIENCE).status_code == 500
    with pytest.raises(StartupError, match="did you mean 'example:app'"), esg.testing.serve("example:ap"):
        pytest.fail("it has started")


def test_options_that_cannot_be() -> None:
    with pytest.raises(TypeError, match="did you mean 'port'"):
        esg.testing.serve(App(), prot=1)
    with pytest.raises(ValueError, match="port: 70000 is not a port"):
        esg.testing.serve(App(), port=70000)


def test_what_the_test_raises_comes_first() -> None:
    app = App()
    with pytest.raises(ZeroDivisionError), esg.testing.serve(app):
        raise ZeroDivisionError
    assert app.seen == LIVED


def test_a_request_that_hangs_does_not_hang_the_test() -> None:
    reached = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    started = time.monotonic()
    with esg.testing.serve(app, lifespan="off", timeout_graceful_shutdown=0.2) as url:
        ask = threading.Thread(target=lambda: httpx.get(url, timeout=20))
        ask.start()
        assert reached.wait(20)
    ask.join(20)
    assert time.monotonic() - started < 15


def test_an_application_that_blocks_its_loop_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esg.testing.STUCK", 0.1)
    release, reached = threading.Event(), threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.set()
        release.wait(20)

    serving = esg.testing.serve(app, lifespan="off", timeout_graceful_shutdown=0.1)
    with pytest.raises(RuntimeError, match="the application blocks its event loop"), serving as url:
        ask = threading.Thread(target=lambda: httpx.get(url, timeout=20))
        ask.start()
        assert reached.wait(20)
    release.set()
    ask.join(20)
    serving._in_thread._thread.join(20)
    assert not serving._in_thread._thread.is_alive()


def test_errors_of_the_application_are_logged_where_pytest_sees_them(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.INFO), esg.testing.serve(app, lifespan="off") as url:
        assert httpx.get(url, timeout=PATIENCE).status_code == 500
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None and record.exc_info[0] is ZeroDivisionError
    assert any(record.name == "esg.access" for record in caplog.records)


def test_as_a_fixture_of_a_suite_without_a_warning(tmp_path: Path) -> None:
    """The program of the guide's chapter, in pytest, where every warning is an error."""
    (tmp_path / "test_app.py").write_text(
        textwrap.dedent(
            """
            import esg.testing
            import httpx
            import pytest


            async def app(scope, receive, send):
                assert scope["type"] == "http"
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"hello"})


            @pytest.fixture(scope="session")
            def url():
                with esg.testing.serve(app) as url:
                    yield url


            @pytest.mark.parametrize("number", range(3))
            def test_hello(url, number):
                assert httpx.get(url, timeout=30).text == "hello"
            """
        )
    )
    options = ["-W", "error", "-p", "no:cacheprovider", "-q"]
    command = [sys.executable, "-W", "error", "-m", "pytest", *options, str(tmp_path)]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout and "warning" not in done.stdout
