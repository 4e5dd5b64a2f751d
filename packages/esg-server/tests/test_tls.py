"""TLS of a server in this process: what is counted, what is left behind, new certificates."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trustme
from esg import Config, Server
from esg.config import StartupError
from esg.tls import TLS, _connect_by_loop


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


class Files:
    """An authority, and a certificate of it that can be replaced."""

    def __init__(self, folder: Path) -> None:
        self.root = trustme.CA()
        self.certificate, self.key = folder / "own.pem", folder / "own.key"
        self.renew()

    def renew(self) -> None:
        issued = self.root.issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(str(self.certificate))
        issued.private_key_pem.write_to_path(str(self.key))

    def config(self, **options: Any) -> Config:
        paths = {"ssl_certfile": (str(self.certificate),), "ssl_keyfile": (str(self.key),)}
        return Config(app, **{"port": 0, "lifespan": "off", "log_config": None, **paths, **options})

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.root.configure_trust(context)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def play(config: Config, story: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
    """Run a story about a server that has started."""

    async def run() -> None:
        server = Server(config)
        try:
            await server.startup()
            await story(server)
        finally:
            await server.shutdown()
        assert server._tls is not None
        assert not server._tls.handshakes

    asyncio.run(asyncio.wait_for(run(), 30))


TRANSPORTS = pytest.mark.parametrize("transport", ["loop", "aiofastnet"])


def need(transport: str) -> None:
    if transport == "aiofastnet":
        pytest.importorskip("aiofastnet")


@TRANSPORTS
def test_handshakes_that_come_to_nothing_are_counted(transport: str, files: Files) -> None:
    need(transport)

    async def story(server: Server) -> None:
        assert server.context is not None
        counters, (address,) = server.context.counters, server.addresses
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
        while not counters.handshake_failures:
            await asyncio.sleep(0)
        reader, silent = await asyncio.open_connection(*address)
        assert await reader.read() == b""
        silent.close()
        while not counters.handshake_timeouts:
            await asyncio.sleep(0)
        assert (counters.handshake_failures, counters.handshake_timeouts, counters.connections) == (1, 1, 0)

    play(files.config(ssl_transport=transport, timeout_request_head=0.1), story)


@TRANSPORTS
def test_new_certificates_on_demand(transport: str, files: Files, caplog: Any) -> None:
    need(transport)

    async def serial(server: Server) -> str:
        _, writer = await asyncio.open_connection(*server.addresses[0], ssl=files.client(), server_hostname="localhost")
        cert: dict[str, str] = writer.get_extra_info("peercert")
        writer.close()
        return cert["serialNumber"]

    async def story(server: Server) -> None:
        first = await serial(server)
        server.reload()
        assert await serial(server) == first
        files.renew()
        assert await serial(server) == first
        server.reload()
        second = await serial(server)
        assert second != first
        files.key.unlink()
        server.reload()
        assert await serial(server) == second
        said = [message for message in caplog.messages if message.startswith("The certificates stay as they were")]
        assert len(said) == 1 and "--ssl-keyfile: there is no file" in said[0]

    play(files.config(ssl_transport=transport, ssl_reload_interval=0), story)


def test_a_factory_that_fails_later(files: Files, caplog: Any) -> None:
    made: list[ssl.SSLContext] = []

    def factory(config: Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        if made:
            raise RuntimeError("only once")
        made.append(default())
        return made[0]

    async def story(server: Server) -> None:
        server.reload()
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
            "ssl_context_factory raised",
            "The certificates stay as they were: RuntimeError('only once')",
        ]
        _, writer = await asyncio.open_connection(*server.addresses[0], ssl=files.client(), server_hostname="localhost")
        writer.close()

    play(files.config(ssl_context_factory=factory), story)


def test_a_loop_of_others_gets_its_handler_of_errors_back(files: Files) -> None:
    pytest.importorskip("aiofastnet")
    told: list[dict[str, Any]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: told.append(context))
        before = loop.get_exception_handler()
        server = Server(files.config())
        await server.startup()
        loop.call_exception_handler({"message": "SSL handshake failed", "exception": ConnectionResetError})
        loop.call_exception_handler({"message": "other", "exception": ConnectionResetError()})
        assert [context["message"] for context in told] == ["other"]
        await server.shutdown()
        assert loop.get_exception_handler() is before

    asyncio.run(run())


def test_aiofastnet_is_taken_where_it_can_be(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    aiofastnet = pytest.importorskip("aiofastnet")
    assert TLS(files.config())._connect is aiofastnet.connect_accepted_socket
    assert TLS(files.config(ssl_transport="loop"))._connect is _connect_by_loop
    # A context of somebody else's may call back into Python, which aiofastnet does not survive.
    by_factory = files.config(ssl_context_factory=lambda config, default: default())
    assert TLS(by_factory)._connect is _connect_by_loop
    monkeypatch.setitem(sys.modules, "aiofastnet", None)
    assert TLS(files.config())._connect is _connect_by_loop
    with pytest.raises(StartupError, match=r"aiofastnet is not installed; try pip install esg-server\[standard\]"):
        TLS(files.config(ssl_transport="aiofastnet"))
