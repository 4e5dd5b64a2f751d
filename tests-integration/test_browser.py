"""A browser that nobody sees opens the pages of the examples and talks to them, as the script on them does."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.once

PATIENCE = 30
SHOWN = "[...document.querySelectorAll('li')].map(item => item.textContent)"


@pytest.fixture(scope="module")
def debugger(program: Any, run_module: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where a browser that runs is told what to do."""
    process = run_module(
        program("chromium"),
        "--headless=new",
        "--no-sandbox",  # tests may run as root
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
        "about:blank",
    )
    return re.sub(r".*ws://([^/]+)/.*", r"\1", process.wait_for("DevTools listening on"))


class Page:
    """A tab of the browser, by its remote debugging protocol."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client
        self.commands = 0

    def evaluate(self, expression: str) -> Any:
        """What JavaScript makes of it, once that is there."""
        parameters = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        self.commands += 1
        self.client.send(json.dumps({"id": self.commands, "method": "Runtime.evaluate", "params": parameters}))
        while (message := json.loads(self.client.recv(PATIENCE))).get("id") != self.commands:
            pass
        if "error" in message:
            # The page came while it was asked: the question is put to the one that is there now.
            assert "context was destroyed" in message["error"]["message"], message
            return self.evaluate(expression)
        assert "exceptionDetails" not in message["result"], message
        return message["result"]["result"].get("value")

    def until(self, condition: str) -> Any:
        """Wait for it to hold, and return what the page shows then."""
        script = f"new Promise(over => {{ const look = () => ({condition}) ? over() : setTimeout(look, 10); look(); }})"
        self.evaluate(script)
        return self.evaluate(SHOWN)

    def shows(self, count: int) -> list[str]:
        return list(self.until(f"document.readyState === 'complete' && {SHOWN}.length >= {count}"))

    def say(self, text: str) -> None:
        self.evaluate(f"document.querySelector('input').value = {text}; document.querySelector('form').requestSubmit()")


@pytest.fixture
def open_page(debugger: str) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def open_page(url: str) -> Page:
            request = urllib.request.Request(f"http://{debugger}/json/new?{quote(url, safe='')}", method="PUT")
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                target = json.load(answer)["webSocketDebuggerUrl"]
            return Page(stack.enter_context(connect(target, max_size=None)))

        yield open_page


@pytest.fixture(params=["esg", "websockets", "wsproto"])
def codec(request: pytest.FixtureRequest) -> str:
    """What reads and writes the frames of a server, each in turn."""
    if request.param != "esg":
        pytest.importorskip(request.param)
    return str(request.param)


def test_echo(serve: Any, open_page: Any, codec: str) -> None:
    server = serve("examples.websocket_echo:app", "--ws", codec)
    page = open_page(server.url + "/")
    assert page.shows(1) == ["open"]
    assert page.evaluate("socket.extensions").startswith("permessage-deflate")
    page.say("'Grüße 😀'")
    page.say("'long '.repeat(100_000)")
    page.evaluate("socket.send(new Uint8Array(300_000))")
    assert page.shows(4) == ["open", "Grüße 😀", "long " * 100_000, "300000 bytes"]
    with server.says('"WEBSOCKET / HTTP/1.1" 3001'):
        page.evaluate("socket.close(3001, 'enough')")
        assert page.shows(5)[-1].startswith("closed: 3001")


def test_chat(serve: Any, open_page: Any, codec: str) -> None:
    server = serve("examples.websocket_chat:app", "--ws", codec)
    ada = open_page(server.url + "/?name=Ada")
    assert ada.shows(2) == ["open", "Ada is here"]
    bob = open_page(server.url + "/?name=Bob")
    assert bob.shows(2) == ["open", "Bob is here"]
    bob.say("'Hello!'")
    assert bob.shows(3)[2:] == ada.shows(4)[3:] == ["Bob: Hello!"]
    bob.evaluate("socket.close()")
    assert bob.shows(4)[3].startswith("closed: 1005")
    assert ada.shows(5)[4] == "Bob has left"
    # The server goes, and says so.
    server.stop()
    assert ada.shows(6)[5] == "closed: 1012 "


def test_refused(serve: Any, open_page: Any) -> None:
    server = serve("examples.websocket_chat:app")
    with server.says('"GET / HTTP/1.1" 403'):
        assert open_page(server.url + "/").shows(1) == ["closed: 1006 "]


def test_the_page_is_the_examples(serve: Any) -> None:
    page = (Path(__file__).parents[1] / "examples/websocket.html").read_bytes()
    assert serve("examples.websocket_chat:app").get("/").body == page
