"""WebSocket clients and frameworks that people use, against a real server with each codec."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

Messages: TypeAlias = list[str | bytes]
Close: TypeAlias = tuple[int, str]

MESSAGES: Messages = ["", "text", "ä€😀" * 1000, b"", b"\x00\xff", bytes(range(256)) * 4000, "x" * 1_000_000]
PATIENCE = 20


@pytest.fixture(scope="module", params=["esg", "websockets", "wsproto"])
def codec(request: pytest.FixtureRequest) -> str:
    """What reads and writes the frames of a server, each in turn."""
    if request.param != "esg":
        pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def server(serve_module: Any, loop: str, codec: str) -> Any:
    return serve_module("sockets:app", "--loop", loop, "--ws", codec, test_app=True)


# -- The clients: each sends the messages one by one, and ends as it is told; what it got, and how it ended


def with_websockets(url: str, messages: Messages, close: Close | None) -> tuple[Messages, Close | None]:
    with connect(url, open_timeout=PATIENCE) as client:
        assert isinstance(client, ClientConnection)
        assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
        got: Messages = []
        for message in messages:
            client.send(message)
            got.append(client.recv(PATIENCE))
        if close is not None:
            client.close(*close)
            return got, None
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
        assert closed.value.rcvd is not None
        return got, (closed.value.rcvd.code, closed.value.rcvd.reason)


def with_aiohttp(url: str, messages: Messages, close: Close | None) -> tuple[Messages, Close | None]:
    aiohttp = pytest.importorskip("aiohttp")

    async def talk() -> tuple[Messages, Close | None]:
        got: Messages = []
        async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=15) as client:
            for message in messages:
                await (client.send_str(message) if isinstance(message, str) else client.send_bytes(message))
                got.append((await client.receive(PATIENCE)).data)
            if close is not None:
                await client.close(code=close[0], message=close[1].encode())
                return got, None
            last = await client.receive(PATIENCE)
            assert last.type is aiohttp.WSMsgType.CLOSE
            return got, (last.data, last.extra)

    return asyncio.run(talk())


def with_websocket_client(url: str, messages: Messages, close: Close | None) -> tuple[Messages, Close | None]:
    websocket = pytest.importorskip("websocket")
    client = websocket.create_connection(url, timeout=PATIENCE)
    try:
        got: Messages = []
        for message in messages:
            (client.send if isinstance(message, str) else client.send_binary)(message)
            got.append(client.recv())
        if close is not None:
            client.close(close[0], close[1].encode())
            return got, None
        opcode, data = client.recv_data()
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        return got, (int.from_bytes(data[:2], "big"), data[2:].decode())
    finally:
        client.shutdown()


def with_picows(url: str, messages: Messages, close: Close | None) -> tuple[Messages, Close | None]:
    picows = pytest.importorskip("picows")

    class Listener(picows.WSListener):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.queue: asyncio.Queue[Any] = asyncio.Queue()

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type is picows.WSMsgType.CLOSE:
                self.queue.put_nowait((int(frame.get_close_code()), (frame.get_close_message() or b"").decode()))
                transport.send_close(frame.get_close_code())
                transport.disconnect()
            elif frame.msg_type is picows.WSMsgType.TEXT:
                self.queue.put_nowait(frame.get_payload_as_utf8_text())
            else:
                self.queue.put_nowait(frame.get_payload_as_bytes())

    async def talk() -> tuple[Messages, Close | None]:
        transport, listener = await picows.ws_connect(Listener, url)
        got: Messages = []
        for message in messages:
            kind = picows.WSMsgType.TEXT if isinstance(message, str) else picows.WSMsgType.BINARY
            transport.send(kind, message.encode() if isinstance(message, str) else message)
            got.append(await asyncio.wait_for(listener.queue.get(), PATIENCE))
        if close is not None:
            transport.send_close(picows.WSCloseCode(close[0]) if close[0] < 3000 else close[0], close[1].encode())
        last = await asyncio.wait_for(listener.queue.get(), PATIENCE)
        await transport.wait_disconnected()
        return got, None if close is not None else last

    return asyncio.run(talk())


def with_ws(url: str, messages: Messages, close: Close | None) -> tuple[Messages, Close | None]:
    """The npm package, as Debian has it."""
    script = Path(__file__).with_name("apps") / "ws_client.js"
    environment = {**os.environ, "NODE_PATH": "/usr/share/nodejs"}
    node = shutil.which("node")
    if node is None or subprocess.run([node, "-e", "require('ws')"], env=environment, capture_output=True).returncode:
        pytest.skip("ws IS NOT INSTALLED, so nothing is known about it: apt-get install node-ws")
    sent = [{"text": each} if isinstance(each, str) else {"bytes": b64encode(each).decode()} for each in messages]
    said = json.dumps({"url": url, "messages": sent, "close": close})
    done = subprocess.run(
        [node, str(script)], input=said, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["extensions"].startswith("permessage-deflate")
    got = [each["text"] if "text" in each else b64decode(each["bytes"]) for each in found["got"]]
    return got, None if close is not None else tuple(found["closed"])


Client: TypeAlias = Callable[[str, Messages, "Close | None"], "tuple[Messages, Close | None]"]
CLIENTS: dict[str, Client] = {
    "websockets": with_websockets,
    "aiohttp": with_aiohttp,
    "websocket-client": with_websocket_client,
    "picows": with_picows,
    "ws": with_ws,
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    return CLIENTS[request.param]


def test_echo(server: Any, client: Client) -> None:
    with server.says("app: disconnect 1000 bye"):
        assert client(f"ws://127.0.0.1:{server.port}/", MESSAGES, (1000, "bye")) == (MESSAGES, None)


def test_closed_by_the_app(server: Any, client: Client) -> None:
    with server.says("app: answered "):  # some answer with a code of their own
        url = f"ws://127.0.0.1:{server.port}/close?code=3005&reason=enough"
        assert client(url, [], None) == ([], (3005, "enough"))


def test_subprotocol_and_headers(server: Any) -> None:
    url = f"ws://127.0.0.1:{server.port}/extra?subprotocol=two&x-cup=tea"
    with connect(url, subprotocols=["one", "two"]) as client:  # type: ignore[list-item]
        assert client.subprotocol == "two"
        assert client.response is not None and client.response.headers["x-cup"] == "tea"
        assert client.recv(PATIENCE) == "one,two"


@pytest.mark.parametrize(("path", "status", "body"), [("deny", 403, None), ("respond", 401, b"no entry")])
def test_denied(server: Any, path: str, status: int, body: bytes | None) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{server.port}/{path}")
    assert refused.value.response.status_code == status
    if body is not None:
        assert refused.value.response.body == body


def test_without_compression(serve: Any, codec: str) -> None:
    server = serve("sockets:app", "--ws", codec, "--no-ws-per-message-deflate", test_app=True)
    with connect(f"ws://127.0.0.1:{server.port}/") as client:
        assert client.protocol.extensions == []
        client.send("plain" * 1000)
        assert client.recv(PATIENCE) == "plain" * 1000


# -- Frameworks


@pytest.fixture(scope="module")
def starlette(serve_module: Any, loop: str, codec: str) -> Any:
    pytest.importorskip("starlette")
    return serve_module("with_starlette:app", "--loop", loop, "--ws", codec, test_app=True)


def test_starlette_function(starlette: Any) -> None:
    url = f"ws://127.0.0.1:{starlette.port}/add"
    with starlette.says("app: left 1001 over"), connect(url, subprotocols=["sums"]) as client:  # type: ignore[list-item]
        assert client.subprotocol == "sums"
        for number, total in ((1, 1), (20, 21), (21, 42)):
            client.send(json.dumps({"number": number}))
            assert json.loads(client.recv(PATIENCE)) == {"sum": total}
        client.close(1001, "over")


def test_starlette_endpoint(starlette: Any) -> None:
    with starlette.says("app: disconnected 1000"), connect(f"ws://127.0.0.1:{starlette.port}/upper/any") as client:
        client.send("shout")
        assert client.recv(PATIENCE) == "SHOUT"


@pytest.mark.parametrize(("path", "status"), [("deny", 402), ("forbid", 404), ("nowhere", 403)])
def test_starlette_denies(starlette: Any, path: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{starlette.port}/{path}")
    assert refused.value.response.status_code == status


@pytest.fixture(scope="module")
def channels(serve_module: Any, loop: str, codec: str) -> Any:
    pytest.importorskip("channels")
    return serve_module("with_channels:app", "--loop", loop, "--ws", codec, test_app=True)


def test_channels(channels: Any) -> None:
    url = f"ws://127.0.0.1:{channels.port}/group"
    with channels.says("app: disconnected 1000"), connect(f"{url}/one") as ada, connect(f"{url}/one") as bob:
        for speaker, text in ((ada, "Hello"), (bob, "Servus")):
            speaker.send(json.dumps(text))
            assert [json.loads(hearer.recv(PATIENCE)) for hearer in (ada, bob)] == [text, text]
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{url}/closed")
    assert refused.value.response.status_code == 403


@pytest.fixture(scope="module")
def socketio(serve_module: Any, loop: str, codec: str) -> Any:
    pytest.importorskip("socketio")
    return serve_module("with_socketio:app", "--loop", loop, "--ws", codec, test_app=True)


@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"]], ids=["at once", "upgraded"])
def test_socketio(socketio: Any, transports: list[str]) -> None:
    library = pytest.importorskip("socketio")

    async def talk() -> None:
        async with library.AsyncSimpleClient() as client:
            await client.connect(socketio.url, transports=transports)
            assert await client.call("shout", "servus", timeout=PATIENCE) == 6
            assert await client.receive(timeout=PATIENCE) == ["heard", "SERVUS"]
            assert client.transport == "websocket"

    with socketio.says("app: disconnected, "):
        asyncio.run(talk())
