"""The application of test_wire and test_clients: one path for each thing that can happen on a connection.

Tests wait for each other's requests by words: ``/gate?word`` answers once ``/open?word`` was asked for, and
``/noted?word`` once an application has noted something under the word.
"""

import asyncio
import collections
import json

KIB = 1024

gates = collections.defaultdict(asyncio.Event)
notes = collections.defaultdict(asyncio.Future)


def note(word, value):
    """Keep something for a test that asks."""
    if not notes[word].done():
        notes[word].set_result(value)


def word_of(scope):
    return scope["query_string"].decode()


async def answer(send, body=b"", status=200, headers=()):
    """A response whose length is known."""
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def start(send, status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def more(send, body):
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def read_body(receive):
    parts, more_body = [], True
    while more_body:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message["body"])
        more_body = message["more_body"]
    return b"".join(parts)


# -- Answers


async def hello(scope, receive, send):
    await answer(send, b"hello")


async def target(scope, receive, send):
    """What was asked for."""
    await answer(send, scope["raw_path"] + b"?" + scope["query_string"])


async def path(scope, receive, send):
    await answer(send, scope["path"].encode())


async def host(scope, receive, send):
    """Every Host field, and the target."""
    hosts = [value.decode() for name, value in scope["headers"] if name == b"host"]
    await answer(send, json.dumps([*hosts, scope["path"]]).encode())


async def peer(scope, receive, send):
    """The port of the client: the same for all requests of one connection."""
    await answer(send, b"%d" % scope["client"][1])


async def echo(scope, receive, send):
    await answer(send, await read_body(receive))


async def chunked(scope, receive, send):
    """A body of unknown length, in parts of which one is empty."""
    await start(send, headers=[(b"content-type", b"text/plain")])
    for part in (b"one ", b"", b"two "):
        await more(send, part)
    await send({"type": "http.response.body", "body": b"three"})


async def status(scope, receive, send):
    """The status of the query string, with a body that some statuses must not have."""
    await start(send, int(word_of(scope)), [(b"x-kept", b"yes")])
    await send({"type": "http.response.body", "body": b"not for everyone"})


# -- Mistakes


async def raise_early(scope, receive, send):
    raise RuntimeError("before the start")


async def raise_late(scope, receive, send):
    await start(send)
    await more(send, b"part")
    raise RuntimeError("after the start")


async def silent(scope, receive, send):
    return


async def stops_halfway(scope, receive, send):
    await start(send)
    await more(send, b"part")


async def too_long(scope, receive, send):
    await start(send, headers=[(b"content-length", b"4")])
    await send({"type": "http.response.body", "body": b"12345678"})


async def too_long_in_parts(scope, receive, send):
    await start(send, headers=[(b"content-length", b"4")])
    await more(send, b"1234")
    await send({"type": "http.response.body", "body": b"5678"})


async def too_short(scope, receive, send):
    await start(send, headers=[(b"content-length", b"8")])
    await send({"type": "http.response.body", "body": b"1234"})


BAD_FIELDS = {
    "cr": (b"x-bad", b"a\rX-Injected: 1"),
    "lf": (b"x-bad", b"a\nX-Injected: 1"),
    "crlf": (b"x-bad", b"a\r\nX-Injected: 1"),
    "split": (b"x-bad", b"a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
    "nul": (b"x-bad", b"a\0b"),
    "name-crlf": (b"x-bad: a\r\nX-Injected", b"1"),
    "name-colon": (b"x-bad:", b"a"),
    "name-space": (b"x bad", b"a"),
    "name-empty": (b"", b"a"),
}


async def bad_field(scope, receive, send):
    await answer(send, b"body", headers=[(b"x-good", b"1"), BAD_FIELDS[word_of(scope)]])


# -- Meeting


async def gate(scope, receive, send):
    """Answer once the gate is open."""
    note(word_of(scope) + "-entered", "yes")
    await gates[word_of(scope)].wait()
    await answer(send, b"through " + scope["query_string"])


async def open_gate(scope, receive, send):
    gates[word_of(scope)].set()
    await answer(send, b"open")


async def noted(scope, receive, send):
    value = await notes[word_of(scope)]
    await answer(send, json.dumps(value).encode())


async def late(scope, receive, send):
    """Answer, wait for the gate, then do what is too late; note what comes of it."""
    await read_body(receive)
    await answer(send, b"early")
    await gates[word_of(scope)].wait()
    came = [(await receive())["type"]]
    for message in ({"type": "http.response.start", "status": 200}, {"type": "http.response.body"}):
        try:
            await send(message)
            came.append("sent")
        except RuntimeError:
            came.append("refused")
    note(word_of(scope), came)


async def stream(scope, receive, send):
    """One part now, one when the gate is open."""
    await start(send, headers=[(b"content-type", b"text/plain")])
    await more(send, b"first")
    await gates[word_of(scope)].wait()
    await send({"type": "http.response.body", "body": b"second"})


# -- The client's part


async def unread(scope, receive, send):
    """Read nothing before the gate is open, then everything: the answer is how much that was."""
    await gates[word_of(scope)].wait()
    body = await read_body(receive)
    await answer(send, b"%d" % len(body))


async def ignore(scope, receive, send):
    """Answer without having read the body."""
    await answer(send, b"ignored")


async def await_disconnect(scope, receive, send):
    """Note what ``receive`` gives after the request."""
    await read_body(receive)
    note(word_of(scope) + "-entered", "yes")
    note(word_of(scope), (await receive())["type"])


async def leave_in_body(scope, receive, send):
    """Note the messages of a body that does not come whole."""
    kinds = []
    while not kinds or kinds[-1] == "http.request":
        kinds.append((await receive())["type"])
        note(word_of(scope) + "-entered", "yes")
    note(word_of(scope), sorted(set(kinds)))


async def endless(scope, receive, send):
    """Send until that fails, and note how."""
    await read_body(receive)
    await start(send)
    try:
        while True:
            await more(send, bytes(64 * KIB))
            await asyncio.sleep(0)
    except Exception as error:
        note(word_of(scope), [isinstance(error, OSError), (await receive())["type"]])
        raise


async def endless_wrapped(scope, receive, send):
    """As Starlette does: an exception of its own in place of the server's."""
    try:
        await endless(scope, receive, send)
    except OSError:
        raise LookupError("the framework's own word for it")  # noqa: B904 - as Starlette


async def torrent(scope, receive, send):
    """Send small parts and wait for nothing else, until the gate is open or that fails; note which it was."""
    await start(send)
    why = "neither"
    try:
        for _ in range(300_000):
            await more(send, b"part")
            if gates[word_of(scope)].is_set():
                why = "open"
                break
    except OSError:
        why = "gone"
        raise
    finally:
        note(word_of(scope), why)
    await send({"type": "http.response.body"})


async def large_at_once(scope, receive, send):
    """32 MiB in one message, and a note of whether the client took them."""
    try:
        await answer(send, bytes(32 * KIB * KIB))
    except OSError:
        note(word_of(scope), "gone")
        raise
    note(word_of(scope), "taken")


async def large(scope, receive, send):
    """64 MiB in parts of so many KiB; once the client is behind, note how much was taken from us by then."""
    word, framing, step = word_of(scope).rsplit("-", 2)
    size, step, sent = 64 * KIB * KIB, KIB * int(step), 0
    await start(send, headers=[(b"content-length", b"%d" % size)] if framing == "length" else [])
    while sent < size:
        part = asyncio.ensure_future(more(send, bytes(step)))
        done, _ = await asyncio.wait({part}, timeout=0.3)
        if not done:
            note(word, sent)
        await part
        sent += step
    note(word, sent)
    await send({"type": "http.response.body"})


PATHS = {
    "/": hello,
    "/hello": hello,
    "/target": target,
    "/host": host,
    "/peer": peer,
    "/echo": echo,
    "/chunked": chunked,
    "/status": status,
    "/raise-early": raise_early,
    "/raise-late": raise_late,
    "/silent": silent,
    "/stops-halfway": stops_halfway,
    "/too-long": too_long,
    "/too-long-in-parts": too_long_in_parts,
    "/too-short": too_short,
    "/bad-field": bad_field,
    "/gate": gate,
    "/open": open_gate,
    "/noted": noted,
    "/late": late,
    "/stream": stream,
    "/unread": unread,
    "/ignore": ignore,
    "/await-disconnect": await_disconnect,
    "/leave-in-body": leave_in_body,
    "/endless": endless,
    "/endless-wrapped": endless_wrapped,
    "/torrent": torrent,
    "/large": large,
    "/large-at-once": large_at_once,
}


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await PATHS.get(scope["path"], path)(scope, receive, send)
