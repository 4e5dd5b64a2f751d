"""The same bytes given to h11: what both accept they must see alike; other differences have a reason here.

h11 takes any token as a method, does not look into targets or the values of Host, and knows HTTP/1.0 and 1.1
only, so the cases about these say nothing and are left out. As a client it reads a response only to a request that it
has sent, and takes an upgrade only if that asked for one.
"""

from __future__ import annotations

import random

import pytest

from .cases import read_cases
from .feeding import feed_pieces
from .random_messages import RESPONSE_BYTES, RESPONSE_SEEDS, given, mutate, requests, responses, settings

h11 = pytest.importorskip("h11")

COMPARED = list(read_cases("fields", "framing", "chunks", "connection"))
RESPONSES = list(read_cases("responses-head", "responses-body"))


def read_with_h11(raw: bytes):
    """The messages in these bytes, as (method, target, headers, body, trailers), and whether that was all."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    connection.receive_data(raw)
    messages = []
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return messages, False
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            messages.append((request.method, request.target, list(request.headers), body, list(event.headers)))
            connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                return messages, True  # the client wants no other
            connection.start_next_cycle()
        else:
            return messages, not connection.trailing_data[0]


def as_h11(message):
    head = message.head
    headers = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in head.headers]
    return (head.method.encode(), head.target, headers, message.body, message.trailers)


def send_request(connection, answers):
    fields = [("host", "a.example"), ("connection", "upgrade"), ("upgrade", "x, websocket")]
    target = "a.example:443" if answers == "CONNECT" else "/"
    connection.send(h11.Request(method=answers, target=target, headers=fields))
    connection.send(h11.EndOfMessage())


def read_responses_with_h11(raw: bytes, answers: str):
    """The responses in these bytes, as (status, reason, headers, body, trailers, switched)."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=65536)
    send_request(connection, answers)
    connection.receive_data(raw)
    connection.receive_data(b"")
    messages = []
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return messages
        if isinstance(event, h11.InformationalResponse):
            switched = connection.their_state is h11.SWITCHED_PROTOCOL
            messages.append((event.status_code, event.reason, list(event.headers), b"", [], switched))
        elif isinstance(event, h11.Response):
            response, body = event, b""
            if connection.their_state is h11.SWITCHED_PROTOCOL:  # a CONNECT has no end
                messages.append((event.status_code, event.reason, list(event.headers), b"", [], True))
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            messages.append(
                (response.status_code, response.reason, list(response.headers), body, list(event.headers), False)
            )
            if connection.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                return messages  # it wants no other
            connection.start_next_cycle()
            send_request(connection, answers)
        else:
            return messages


def response_as_h11(message):
    head = message.head
    headers = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in head.headers]
    return (head.status, head.reason, headers, message.body, message.trailers, message.upgrade)


@settings
@given(requests())
def test_good_requests(sent):
    raw, _ = sent
    outcome = feed_pieces([raw])
    messages, well = read_with_h11(raw)
    assert well and outcome.failure is None
    assert [as_h11(message) for message in outcome.messages] == messages


@settings
@given(responses())
def test_good_responses(sent):
    raw, (status, reason, *_) = sent
    outcome = feed_pieces([raw], answers="GET")
    assert outcome.failure is None
    assert [response_as_h11(message) for message in outcome.messages] == read_responses_with_h11(raw, "GET")


ONLY_HERE = {
    "Size with leading zeros": "h11 takes 20 digits of a chunk size",
    "Empty line between requests": "h11 takes empty lines before the first request only",
}
ONLY_H11 = {
    "Folded value": "h11 unfolds",
    "Folded with a tab": "h11 unfolds",
    "Folded empty value": "h11 unfolds",
    "Folded trailer": "h11 unfolds",
    "Line of one blank": "h11 unfolds",
    "Bare LF behind a field": "h11 takes LF as a line end",
    "Bare LF in a value": "h11 takes LF as a line end",
    "Bare LF at the end of the head": "h11 takes LF as a line end",
    "Bare LF at the end": "h11 takes LF as a line end",
    "Trailer with a bare LF": "h11 takes LF as a line end",
    "Control character in a value": "h11 refuses NUL, CR and LF in a value",
    "Escape in a value": "h11 refuses NUL, CR and LF in a value",
    "DEL in a value": "h11 refuses NUL, CR and LF in a value",
    "Two equal Content-Length": "h11 takes equal ones as one",
    "Three Content-Length": "h11 takes equal ones as one",
    "Content-Length as a list": "h11 takes equal ones as one",
    "Content-Length, then chunked": "h11 lets Transfer-Encoding win",
    "Chunked, then Content-Length": "h11 lets Transfer-Encoding win",
    "Chunked, then a Content-Length of 0": "h11 lets Transfer-Encoding win",
    "Both in HTTP/1.0": "h11 lets Transfer-Encoding win",
    "Chunked in HTTP/1.0": "h11 reads it",
    "Chunked with a tab behind it": "h11 drops it",
    "Space behind a size": "h11 skips it",
    "Semicolon and no extension": "h11 skips what is behind a chunk size",
    "Extension with a bare CR": "h11 skips what is behind a chunk size",
    "Extension with an open quote": "h11 skips what is behind a chunk size",
    "Extension with a NUL": "h11 skips what is behind a chunk size",
    "Extension with bytes above ASCII": "h11 skips what is behind a chunk size",
    "Content-Length as a trailer": "h11 looks at no trailer's name",
    "Transfer-Encoding as a trailer": "h11 looks at no trailer's name",
    "Another expectation": "h11 leaves it to the server",
    "Two expectations": "h11 leaves it to the server",
}


def test_known_differences():
    here, there = set(), set()
    for case in COMPARED:
        ours = [as_h11(message) for message in feed_pieces([case.raw]).messages]
        theirs, _ = read_with_h11(case.raw)
        shorter = min(len(ours), len(theirs))
        assert ours[:shorter] == theirs[:shorter], case.name
        if len(ours) > len(theirs):
            here.add(case.name)
        elif len(theirs) > len(ours):
            there.add(case.name)
    assert here == set(ONLY_HERE)
    assert there == set(ONLY_H11)


def test_messages_that_both_accept():
    """The cases with bytes changed: no message may hold one thing here and another there."""
    chance = random.Random(9113)
    compared = 0
    for _ in range(8000):
        raw = mutate(chance, chance.choice(COMPARED).raw)
        if not raw.startswith((b"GET /", b"POST /")):
            continue
        ours = [as_h11(message) for message in feed_pieces([raw]).messages]
        for mine, theirs in zip(ours, read_with_h11(raw)[0], strict=False):
            assert mine == theirs, raw
            compared += 1
    assert compared > 500


RESPONSES_ONLY_HERE = {
    "Size with leading zeros": "h11 takes 20 digits of a chunk size",
    "CONNECT that succeeds, gzip, chunked": "h11 looks at the coding first",
}
RESPONSES_ONLY_H11 = {
    "No space behind the status code": "h11 takes it",
    "Control character in the reason": "h11 refuses NUL, CR and LF in a reason",
    "Escape in the reason": "h11 refuses NUL, CR and LF in a reason",
    "DEL in the reason": "h11 refuses NUL, CR and LF in a reason",
    "Bare LF behind the status line": "h11 takes LF as a line end",
    "Bare LF everywhere": "h11 takes LF as a line end",
    "Version 0.9": "h11 takes any version that looks like one",
    "Version 2.0": "h11 takes any version that looks like one",
    "Version 3.0": "h11 takes any version that looks like one",
    "Folded value": "h11 unfolds",
    "Folded with a tab": "h11 unfolds",
    "Folded empty value": "h11 unfolds",
    "Folded trailer": "h11 unfolds",
    "Line of one blank": "h11 unfolds",
    "Control character in a value": "h11 refuses NUL, CR and LF in a value",
    "Escape in a value": "h11 refuses NUL, CR and LF in a value",
    "DEL in a value": "h11 refuses NUL, CR and LF in a value",
    "Bare LF in a value": "h11 takes LF as a line end",
    "Bare LF behind a field": "h11 takes LF as a line end",
    "Bare LF at the end of the head": "h11 takes LF as a line end",
    "Bare LF at the end": "h11 takes LF as a line end",
    "Trailer with a bare LF": "h11 takes LF as a line end",
    "101 without an Upgrade": "h11 leaves it to the client",
    "101 without a Connection": "h11 leaves it to the client",
    "101 in HTTP/1.0": "h11 leaves it to the client",
    "HEAD with both lengths": "h11 lets Transfer-Encoding win",
    "CONNECT that succeeds, with both lengths": "h11 looks at neither",
    "Two equal Content-Length": "h11 takes equal ones as one",
    "Content-Length as a list": "h11 takes equal ones as one",
    "Chunked with a tab behind it": "h11 drops it",
    "Chunked in HTTP/1.0": "h11 reads it",
    "Content-Length, then chunked": "h11 lets Transfer-Encoding win",
    "Chunked, then Content-Length": "h11 lets Transfer-Encoding win",
    "Chunked, then a Content-Length of 0": "h11 lets Transfer-Encoding win",
    "Space behind a size": "h11 skips it",
    "Semicolon and no extension": "h11 skips what is behind a chunk size",
    "Extension with an open quote": "h11 skips what is behind a chunk size",
    "Content-Length as a trailer": "h11 looks at no trailer's name",
    "Transfer-Encoding as a trailer": "h11 looks at no trailer's name",
}


def test_known_differences_of_responses():
    here, there = set(), set()
    for case in RESPONSES:
        ours = [response_as_h11(message) for message in feed_pieces([case.raw], answers=case.answers).messages]
        theirs = read_responses_with_h11(case.raw, case.answers)
        shorter = min(len(ours), len(theirs))
        assert ours[:shorter] == theirs[:shorter], case.name
        if len(ours) > len(theirs):
            here.add(case.name)
        elif len(theirs) > len(ours):
            there.add(case.name)
    assert here == set(RESPONSES_ONLY_HERE)
    assert there == set(RESPONSES_ONLY_H11)


def test_responses_that_both_accept():
    chance = random.Random(9114)
    compared = 0
    for _ in range(8000):
        answers, raw = chance.choice(RESPONSE_SEEDS)
        raw = mutate(chance, raw, RESPONSE_BYTES)
        ours = [response_as_h11(message) for message in feed_pieces([raw], answers=answers).messages]
        for mine, theirs in zip(ours, read_responses_with_h11(raw, answers), strict=False):
            assert mine == theirs, raw
            compared += 1
    assert compared > 500
