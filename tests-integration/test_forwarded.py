"""What proxies say of their clients: believed where it is meant to be, and what a client writes itself never is.

Every request comes from 127.0.0.1, the address of a proxy that is trusted unless a test says otherwise. 10.0.0.0/8 and
2001:db8:f::/48 are proxies further out, and 203.0.113.7 is who is found behind them.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from .conftest import APPS, ROOT, Process, Server

PROXIES = "127.0.0.1, 10.0.0.0/8, 2001:db8:f::/48, _edge, unix"
EVERY = "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Port, X-Forwarded-Host"

CLIENT = ["203.0.113.7", 0]
PEER = "the peer"
MANY = 1800


def whose(server: Any, *lines: str, **options: Any) -> Any:
    """What the application is told of a request with these lines; "the peer" stands for the connection's client."""
    with server.connect() as wire:
        port = wire.socket.getsockname()[1]
        wire.request("/", headers=lines, close=True, **options)
        told = json.loads(wire.answer().body)
    if told["client"] == ["127.0.0.1", port]:
        told["client"] = PEER
    return told


@pytest.fixture(scope="module")
def default(serve_module: Any) -> Any:
    return serve_module("whose:app", test_app=True)


@pytest.fixture(scope="module")
def chain(serve_module: Any) -> Any:
    """Several proxies in a row, which set X-Forwarded fields."""
    return serve_module(
        "whose:app",
        "--forwarded-allow-ips",
        PROXIES,
        "--forwarded-headers",
        EVERY,
        "--log-level",
        "debug",
        "--lifespan",
        "off",
        test_app=True,
    )


@pytest.fixture(scope="module")
def standard(serve_module: Any) -> Any:
    """The same, which set Forwarded."""
    return serve_module(
        "whose:app", "--forwarded-allow-ips", PROXIES, "--forwarded-headers", "Forwarded", test_app=True
    )


@pytest.fixture(scope="module")
def everybody(serve_module: Any) -> Any:
    return serve_module("whose:app", "--forwarded-allow-ips", "*", test_app=True)


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("203.0.113.7", CLIENT),
        ("203.0.113.7:4711", ["203.0.113.7", 4711]),
        ("2001:db8::7", ["2001:db8::7", 0]),
        ("2001:0DB8:0:0::7", ["2001:db8::7", 0]),
        ("[2001:db8::7]", ["2001:db8::7", 0]),
        ("[2001:db8::7]:4711", ["2001:db8::7", 4711]),
        ("::ffff:203.0.113.7", CLIENT),
        # What the client itself wrote stands to the left of what proxies add.
        ("198.51.100.1, 203.0.113.7", CLIENT),
        ("127.0.0.1, 203.0.113.7", CLIENT),
        ("garbage, 203.0.113.7", CLIENT),
        ("unknown,203.0.113.7", CLIENT),
        ("198.51.100.1\t ,\t203.0.113.7", CLIENT),
        # Proxies that are trusted are passed over, however they write their addresses.
        ("198.51.100.1, 203.0.113.7, 10.1.2.3", CLIENT),
        ("203.0.113.7, 10.1.2.3, 10.4.5.6:80, [2001:db8:f::1]:443, 2001:DB8:F:0::2, ::ffff:10.7.8.9", CLIENT),
        ("203.0.113.7, 10.1.2.3, _edge", CLIENT),
        ("203.0.113.7, unix:, 10.1.2.3", CLIENT),
        # Nobody but proxies: the first of them asks by itself.
        ("10.1.2.3", ["10.1.2.3", 0]),
        ("10.1.2.3, 10.4.5.6", ["10.1.2.3", 0]),
        # Empty elements are none (RFC 9110 section 5.6.1).
        ("203.0.113.7,,", CLIENT),
        (",203.0.113.7, ,10.1.2.3", CLIENT),
        ("", PEER),
        (" , ,", PEER),
        # What proxies say and cannot be read: nobody knows who it is.
        ("unknown", None),
        ("203.0.113.7, unknown", None),
        ("203.0.113.7, _hidden, 10.1.2.3", None),
        ("unix:", None),
        ("203.0.113.7, garbage", None),
        ("203.0.113.7:", None),
        ("203.0.113.7:x", None),
        ("203.0.113.7:65536", None),
        ("203.0.113.7 4711", None),
        ("203.0.113", None),
        ("203.0.113.256", None),
        ("203.0.113.07", None),
        ("3405803783", None),
        ("[203.0.113.7]", None),
        ("[2001:db8::7", None),
        ("2001:db8::7]", None),
        ("[2001:db8::7]4711", None),
        ("2001:db8::7::1", None),
        ('"203.0.113.7"', None),
        ("proxy.example", None),
        ("203.0.113.7\xe9", None),
        ("203.0.113.7\x85", None),
        # Lists longer than anybody's.
        ("198.51.100.1, " * MANY + "203.0.113.7", CLIENT),
        ("203.0.113.7" + ", 10.1.2.3" * 31, CLIENT),
        ("203.0.113.7" + ", 10.1.2.3" * MANY, None),
        ("9" * 20000, None),
        (":" * 20000, None),
    ],
)
def test_x_forwarded_for(chain: Any, text: str, client: Any) -> None:
    # Bytes beyond ASCII go as they are.
    with chain.connect() as wire:
        port = wire.socket.getsockname()[1]
        wire.send(
            f"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {text}\r\nConnection: close\r\n\r\n".encode("latin-1")
        )
        told = json.loads(wire.answer().body)
    assert told["client"] == (["127.0.0.1", port] if client == PEER else client)
    # The field itself is the application's to read.
    assert ["x-forwarded-for", text.strip(" ")] in told["fields"]


def test_a_list_over_several_fields_is_one(chain: Any) -> None:
    lines = ["198.51.100.1", "203.0.113.7", "10.1.2.3, 10.4.5.6"]
    assert whose(chain, *(f"X-Forwarded-For: {line}" for line in lines))["client"] == CLIENT
    assert whose(chain, *(f"X-Forwarded-For: {line}" for line in reversed(lines)))["client"] == ["198.51.100.1", 0]


@pytest.mark.parametrize(
    ("values", "scheme"),
    [
        (["https"], "https"),
        (["HTTPS"], "https"),
        (["wss"], "https"),
        (["ws"], "http"),
        (["http"], "http"),
        (["https, https"], "https"),
        (["https", "https"], "https"),
        # More than one thing: one of them may be what the client wrote.
        (["https, http"], "http"),
        (["http, https"], "http"),
        (["https", "http"], "http"),
        (["ftp"], "http"),
        (["https://"], "http"),
        ([""], "http"),
        (["https" + ",https" * MANY], "http"),
    ],
)
def test_x_forwarded_proto(chain: Any, values: list[str], scheme: str) -> None:
    assert whose(chain, *(f"X-Forwarded-Proto: {value}" for value in values))["scheme"] == scheme


@pytest.mark.parametrize(
    ("values", "port"),
    [
        (["8443"], 8443),
        (["443", "443"], 443),
        (["443, 80"], None),
        (["0"], None),
        (["65536"], None),
        (["+443"], None),
        (["443x"], None),
        (["4_3"], None),
        (["9" * 5000], None),
    ],
)
def test_x_forwarded_port(chain: Any, values: list[str], port: int | None) -> None:
    told = whose(chain, *(f"X-Forwarded-Port: {value}" for value in values))
    assert told["server"] == ["127.0.0.1", port or chain.port]
    assert told["hosts"] == ["test.example"]


@pytest.mark.parametrize(
    ("values", "host"),
    [
        (["www.example"], "www.example"),
        (["WWW.example:8443"], "www.example:8443"),
        (["192.0.2.1"], "192.0.2.1"),
        (["[2001:db8::1]:8443"], "[2001:db8::1]:8443"),
        (["www.example", "www.example"], "www.example"),
        # The client's own, and the proxy's.
        (["evil.example, www.example"], None),
        (["evil.example", "www.example"], None),
        (["evil.example/path"], None),
        (["user@evil.example"], None),
        (["evil.example?"], None),
        (["evil.example#"], None),
        (["evil.example:port"], None),
        (["evil.example:65536"], None),
        (["evil example"], None),
        (["[2001:db8::1"], None),
        (["[evil.example]"], None),
        (["[1.2.3.4]x"], None),
        ([":80"], None),
        ([""], None),
        (["e" * 5000], None),
    ],
)
def test_x_forwarded_host(chain: Any, values: list[str], host: str | None) -> None:
    told = whose(chain, *(f"X-Forwarded-Host: {value}" for value in values))
    assert told["hosts"] == [host or "test.example"]
    assert told["server"] == ["127.0.0.1", chain.port]


def test_a_host_for_a_request_without_one(chain: Any) -> None:
    with chain.connect() as wire:
        wire.send(b"GET / HTTP/1.0\r\nX-Forwarded-Host: www.example\r\n\r\n")
        assert json.loads(wire.answer().body)["hosts"] == ["www.example"]


@pytest.mark.parametrize(
    ("values", "client", "scheme", "host"),
    [
        (["for=203.0.113.7"], CLIENT, "http", None),
        (["For=203.0.113.7;PROTO=HTTPS;Host=WWW.example"], CLIENT, "https", "www.example"),
        (['for="203.0.113.7:4711"; proto="https"; by=10.1.2.3'], ["203.0.113.7", 4711], "https", None),
        (['for="203.0.113.7:_port"'], CLIENT, "http", None),
        (['for="[2001:db8::7]:4711"'], ["2001:db8::7", 4711], "http", None),
        (['for="[2001:db8::7]"'], ["2001:db8::7", 0], "http", None),
        ([r'for="203.0.11\3.7"'], CLIENT, "http", None),
        (['for=203.0.113.7;host="www.example:8443"'], CLIENT, "http", "www.example:8443"),
        # Read from the right; scheme and host are those of the connection that the client made.
        (["for=198.51.100.1;proto=https;host=evil.example, for=203.0.113.7"], CLIENT, "http", None),
        (["for=203.0.113.7;proto=https, for=10.1.2.3;proto=http;host=inner.example"], CLIENT, "https", None),
        (["for=198.51.100.1", "for=203.0.113.7;proto=https,for=10.1.2.3", "for=_edge"], CLIENT, "https", None),
        (["for=10.1.2.3;proto=https, for=10.4.5.6"], ["10.1.2.3", 0], "https", None),
        (["proto=https"], PEER, "https", None),
        (["for=203.0.113.7;proto=https", " , "], CLIENT, "https", None),
        (["proto=https, for=10.1.2.3"], ["10.1.2.3", 0], "https", None),
        ([""], PEER, "http", None),
        ([",;, for=203.0.113.7;,;"], CLIENT, "http", None),
        # Garbage of the client's, in a line of its own and in one that a proxy went on with.
        (['for="', "for=203.0.113.7;proto=https"], CLIENT, "https", None),
        (['for=", for=203.0.113.7;proto=https'], None, "http", None),
        (['for=198.51.100.1;x=", for="[2001:db8::7]:4711";proto=https'], None, "http", None),
        (['for=198.51.100.1;x="\\, for="[2001:db8::7]:4711";proto=https'], None, "http", None),
        # Nobody knows who it is.
        (["for=unknown;proto=https"], None, "https", None),
        (["for=_hidden"], None, "http", None),
        (['for="_hidden:_port"'], None, "http", None),
        (["for=203.0.113.7:4711"], None, "http", None),
        (["for=[2001:db8::7]"], None, "http", None),
        (["for=2001:db8::7"], None, "http", None),
        (['for="2001:db8::7"'], ["2001:db8::7", 0], "http", None),
        (["for=203.0.113.7;for=198.51.100.1"], None, "http", None),
        (["for=203.0.113.7 proto=https"], None, "http", None),
        (["for = 203.0.113.7"], None, "http", None),
        (["for"], None, "http", None),
        (["for="], None, "http", None),
        (['for="203.0.113.7"x'], None, "http", None),
        (['for=203.0.113.7;proto=ftp;host="evil.example/"'], CLIENT, "http", None),
        (["for=198.51.100.1," * MANY + "for=203.0.113.7"], None, "http", None),
        (["for=198.51.100.1," * 40 + "for=203.0.113.7"], None, "http", None),
        (["for=198.51.100.1," * 20 + "for=203.0.113.7"], CLIENT, "http", None),
        (["for=198.51.100.1," * 40, "for=203.0.113.7"], CLIENT, "http", None),
        ([" " * 3000 + "for=203.0.113.7" + " " * 900], CLIENT, "http", None),
        (["for=203.0.113.7" + " " * 3000 + "x"], None, "http", None),
    ],
)
def test_forwarded(standard: Any, values: list[str], client: Any, scheme: str, host: str | None) -> None:
    told = whose(standard, *(f"Forwarded: {value}" for value in values))
    assert (told["client"], told["scheme"]) == (client, scheme)
    assert told["hosts"] == [host or "test.example"]


X_LINES = ("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "X-Forwarded-Port: 8443")
OTHER_LINES = ("X-Forwarded-Host: evil.example", "Forwarded: for=198.51.100.1;proto=https;host=evil.example")


def test_the_default_believes_three_fields_of_this_machine(default: Any) -> None:
    told = whose(default, *X_LINES, *OTHER_LINES)
    assert (told["client"], told["scheme"], told["server"]) == (CLIENT, "https", ["127.0.0.1", 8443])
    assert told["hosts"] == ["test.example"]


def test_fields_that_proxies_do_not_set_come_from_clients(default: Any, standard: Any) -> None:
    # nginx and HAProxy pass on what they know nothing of.
    told = whose(default, *OTHER_LINES)
    assert (told["client"], told["scheme"], told["hosts"]) == (PEER, "http", ["test.example"])
    told = whose(standard, *X_LINES)
    assert (told["client"], told["scheme"], told["server"][1]) == (PEER, "http", standard.port)


def test_requests_of_one_connection_have_their_own_clients(default: Any) -> None:
    with default.connect() as wire:
        seen = []
        for line in ["X-Forwarded-For: 203.0.113.7", "X: y", "X-Forwarded-For: 203.0.113.8"]:
            wire.request(headers=(line,))
            told = json.loads(wire.answer().body)
            seen.append(told["client"])
        assert seen == [CLIENT, list(wire.socket.getsockname()), ["203.0.113.8", 0]]


def test_the_first_of_all_when_everybody_is_trusted(everybody: Any) -> None:
    assert whose(everybody, "X-Forwarded-For: 198.51.100.1, 203.0.113.7")["client"] == ["198.51.100.1", 0]
    assert whose(everybody, "X-Forwarded-For: ,, 198.51.100.1", "X-Forwarded-For: x")["client"] == ["198.51.100.1", 0]
    assert whose(everybody, "X-Forwarded-For: garbage, 203.0.113.7")["client"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-proxy-headers"],
        ["--no-proxy-headers", "--forwarded-allow-ips", "*"],
        ["--forwarded-allow-ips", "192.0.2.1,unix,/run/esg.sock"],
        ["--forwarded-allow-ips", ""],
    ],
)
def test_nobody_else_is_believed(serve: Any, arguments: list[str]) -> None:
    server = serve("whose:app", *arguments, test_app=True)
    told = whose(server, *X_LINES, *OTHER_LINES)
    assert (told["client"], told["scheme"], told["hosts"]) == (PEER, "http", ["test.example"])
    assert told["server"] == ["127.0.0.1", server.port]


def test_the_variable_that_others_read_too() -> None:
    env = {"FORWARDED_ALLOW_IPS": "192.0.2.1"}
    server = Server("--app-dir", "tests-integration/apps", "whose:app", env=env)
    try:
        assert whose(server, *X_LINES)["client"] == PEER
        server.stop()
    finally:
        server.close()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--forwarded-allow-ips", "10.0.0.0/33"], "'10.0.0.0/33' is not an address, a network as 10.0.0.0/8"),
        (["--forwarded-allow-ips", "10.1.0.0/8"], "'10.1.0.0/8' is one address of a network, which is '10.0.0.0/8'"),
        (["--forwarded-allow-ips", "127.0.0.1,localhost"], "'localhost' is not an address, a network"),
        (["--forwarded-headers", "X-Forwarded"], "'x-forwarded' is not one of x-forwarded-for,"),
        (["--forwarded-headers", "Forwarded,X-Forwarded-For"], "name those that yours set, not both"),
    ],
)
def test_bad_values_are_named(arguments: list[str], line: str) -> None:
    command = [sys.executable, "-m", "esg", "examples.hello:app", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert line in " ".join(done.stderr.split())


def test_a_bad_variable_is_named() -> None:
    process = Process(sys.executable, "-m", "esg", "examples.hello:app", env={"FORWARDED_ALLOW_IPS": "here"})
    try:
        assert process.wait() == 2
        assert "FORWARDED_ALLOW_IPS: 'here' is not an address" in process.told()
    finally:
        process.close()


def test_websockets(default: Any) -> None:
    headers = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https")]
    url = default.url.replace("http", "ws", 1)
    with default.says('203.0.113.7:0 - "GET / HTTP/1.1" 101'), connect(url, additional_headers=headers) as websocket:
        told = json.loads(websocket.recv())
    assert (told["client"], told["scheme"]) == (CLIENT, "wss")
    default.wait_for('203.0.113.7:0 - "WEBSOCKET / HTTP/1.1" 1000')
    with connect(url) as websocket:
        told = json.loads(websocket.recv())
    assert (told["client"][0], told["scheme"]) == ("127.0.0.1", "ws")


def test_the_log_names_the_client(default: Any) -> None:
    with default.says('203.0.113.7:0 - "GET / HTTP/1.1" 200'):
        whose(default, "X-Forwarded-For: 203.0.113.7")


def test_a_limit_that_is_passed_names_the_client(serve: Any) -> None:
    server = serve("whose:app", "--limit-request-body", "10", "--access-log", test_app=True)
    with server.connect() as wire:
        lines = ("X-Forwarded-For: 203.0.113.7", "Transfer-Encoding: chunked", "Expect: 100-continue")
        wire.request("/read", "POST", headers=lines)
        assert wire.answer().status == 100
        with server.says("received from 203.0.113.7:0"):
            wire.send(b"b\r\nhello world\r\n")
    with server.connect() as wire:
        wire.request(headers=("X-Forwarded-For: 203.0.113.7",))
        wire.answer()
        # Nobody's request yet: the peer sent this.
        with server.says("received from 127.0.0.1:"):
            wire.send(b"garbage\r\n\r\n")


@pytest.mark.parametrize(("allow", "believed"), [(None, True), ("unix", True), ("path", True), ("127.0.0.1", False)])
def test_a_unix_socket(allow: str | None, believed: bool, tmp_path: Path, run: Callable[..., Process]) -> None:
    path = str(tmp_path / "esg.sock")
    options = [] if allow is None else ["--forwarded-allow-ips", path if allow == "path" else allow]
    server = run(sys.executable, "-m", "esg", "--app-dir", str(APPS), "whose:app", "--uds", path, *options)
    server.wait_for("ESG running on")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n\r\n")
        with client.makefile("rb") as answer:
            body = answer.read().partition(b"\r\n\r\n")[2]
    assert json.loads(body.split(b"\r\n")[1])["client"] == (CLIENT if believed else None)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_peer_whose_address_comes_as_ipv6(address: str, run: Callable[..., Process]) -> None:
    """To a socket for both, 127.0.0.1 is ::ffff:127.0.0.1."""
    server = run(sys.executable, "-m", "esg", "--app-dir", str(APPS), "whose:app", "--host", "::", "--port", "0")
    port = int(server.wait_for("ESG running on").split(" (")[0].rpartition(":")[2])
    with socket.create_connection((address, port), 20) as client, client.makefile("rb") as answer:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n\r\n")
        assert b'"client": ["203.0.113.7", 0]' in answer.read()
