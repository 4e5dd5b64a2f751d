"""Let the 1st, 2nd, ... allocation fail while a parser works: a program of its own, run by test_safety.py.

Each run must end as if nothing had failed, or in MemoryError; then the parser either refuses to go on or has taken
nothing of what it was fed. At the end nothing may be left in memory. Prints how many runs ended in MemoryError, by
input, and how many of them let the parser go on.
"""

from __future__ import annotations

import _testcapi
import ctypes
import gc
import json
import sys
from functools import partial

from esg_parser import ParserError, RequestParser, ResponseParser

POST = b"POST / HTTP/1.1\r\nHost: a.example\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
MANY = b"".join(b"X-Own-Name-%d: %d\r\n" % (i, i) for i in range(60))  # there is room for 24
CHUNKS = b"".join(b'%x;name=value;other="x"\r\n%b\r\n' % (i, b"x" * i) for i in range(1, 40))  # and for 16 pieces
TRAILERS = b"0\r\n" + b"".join(b"X-%d: %b\r\n" % (i, b"y" * 50) for i in range(30)) + b"\r\n"
CODED = CHUNKED + MANY + b"\r\n" + CHUNKS + TRAILERS

REQUESTS = {
    "fields": POST + MANY + b"\r\n",
    "chunks": POST + CODED,
    "target": b"GET /" + b"caf%C3%A9/" * 200 + b"?" + b"q" * 500 + b" HTTP/1.1\r\nHost: [::1]\r\n\r\n",
    "absolute": b"GET http://[::2]:80/x?y HTTP/1.1\r\nHost: [::3]\r\n\r\n",
    "connect": b"CONNECT [::4]:443 HTTP/1.1\r\nHost: [::5]\r\n\r\n\x16\x03",
    "upgrade": POST + b"Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\nProxy-Connection: close\r\n\r\n",
    "expect": POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "bad host": b"GET / HTTP/1.1\r\nHost: [::6::]\r\n\r\n",
    "bad method": b"FOO / HTTP/1.1\r\n\r\n",
    "bad chunk": POST + CODED[:-2] + b"\x00",
}
RESPONSES = {
    "fields": OK + b"Content-Length: 0\r\n" + MANY + b"\r\n",
    "chunks": OK + CODED,
    "reason": b"HTTP/1.1 404 " + b"Not Found " * 50 + b"\r\nContent-Length: 5\r\n\r\nhello",
    "to the end": OK + b"\r\n" + b"hello" * 50,
    "switch": b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n\x81\x00",
    "bad status": b"HTTP/1.1 099 Low\r\n\r\n",
    "bad trailer": OK + CODED[:-2] + CHUNKED + b"\r\n",
    "cut off": OK + b"Content-Length: 5\r\n\r\nhell",
}

PASSES = 5


def cut(raw: bytes, size: int) -> list[bytes]:
    return [raw[i : i + size] for i in range(0, len(raw), size)]


def ways(raw: bytes) -> dict[str, list[bytes | bytearray]]:
    return {
        "whole": [raw],
        "in pieces": cut(raw, 100),
        "in buffers": [bytearray(piece) for piece in cut(raw, 300)],
    }


def run(calls, results, numbers):
    """Make the calls; this allocates nothing, so that only the parser fails."""
    for i in numbers:
        results[i] = calls[i]()


def run_failing(calls, results, numbers, fail_at):
    _testcapi.set_nomemory(fail_at, fail_at + 1)
    try:
        run(calls, results, numbers)
    finally:
        _testcapi.remove_mem_hooks()


def outcome(make, pieces, fail_at=None):
    """What came out, whether a call ran out of memory, and whether the parser went on behind that."""
    parser = make()
    calls = [partial(parser.feed, piece) for piece in pieces] + [parser.close]
    results = [None] * len(calls)
    numbers = iter(range(len(calls)))
    failed = went_on = False
    try:
        if fail_at is None:
            run(calls, results, numbers)
        else:
            run_failing(calls, results, numbers, fail_at)
    except ParserError as error:
        results.append(str(error))
    except (MemoryError, SystemError):  # the latter is what CPython makes of it in Python code, so in ipaddress
        failed = True
        went_on = go_on(parser, calls, results)
    return (results, parser.trailing_data), failed, went_on


def go_on(parser, calls, results):
    """Make the call that failed again, and those behind it; whether the parser let us."""
    try:
        if results.index(None) == len(calls) - 1:
            parser.feed(b"")  # close says nothing about a parser that refuses
        run(calls, results, range(results.index(None), len(calls)))
    except RuntimeError:
        return False
    except ParserError as error:
        results.append(str(error))
    return True


def count_failures(make, pieces):
    for _ in range(50):  # until the interpreter has specialised what it runs, which allocates too
        expected, _, _ = outcome(make, pieces)
    failures = goes_on = successes = fail_at = 0
    while successes < 20:  # the last allocation is behind us
        got, failed, went_on = outcome(make, pieces, fail_at)
        if not failed or went_on:
            assert got == expected, (pieces, fail_at, got)
        failures += failed
        goes_on += went_on
        successes = 0 if failed else successes + 1
        fail_at += 1
    return failures, goes_on


def check_all():
    return {
        f"{make.__name__}, {name}, {way}": count_failures(make, pieces)
        for make, inputs in ((RequestParser, REQUESTS), (ResponseParser, RESPONSES))
        for name, raw in inputs.items()
        for way, pieces in ways(raw).items()
    }


class Mallinfo2(ctypes.Structure):
    _fields_ = [(f"field_{i}", ctypes.c_size_t) for i in range(10)]  # in use is uordblks, the eighth


def in_use():
    """Blocks of objects, and bytes that C code has from malloc (glibc 2.33 tells them; elsewhere 0)."""
    gc.collect()
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return sys.getallocatedblocks(), 0
    mallinfo2.restype = Mallinfo2
    return sys.getallocatedblocks(), mallinfo2().field_7


def main():
    unraisable = []
    sys.unraisablehook = unraisable.append
    counts = check_all()  # and fill every cache
    blocks, size = in_use()
    for _ in range(PASSES):
        check_all()
    blocks_now, size_now = in_use()
    result = {"counts": counts, "blocks": blocks_now - blocks, "bytes": size_now - size}
    print(json.dumps({**result, "unraisable": [repr(item.exc_value) for item in unraisable]}))


if __name__ == "__main__":
    main()
