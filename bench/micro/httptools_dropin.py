"""esg_parser.httptools against httptools itself: one head through a protocol with callbacks like a server's.

It needs httptools. A ratio below 1 means that ours is the faster.
Run: python -m bench.micro.httptools_dropin
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import httptools
from esg_parser import httptools as ours

from bench.micro.compare import compare

SMALL = b"GET /index.html?a=b HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
BROWSER = (
    b"GET /index.html?a=b HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n"
    b"Cache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n"
)
URL = b"/index.html?a=b"


class Silent:
    """Callbacks that do nothing, so that what is timed is the way to them."""

    def on_message_begin(self) -> None:
        pass

    def on_url(self, url: bytes) -> None:
        pass

    def on_header(self, name: bytes, value: bytes) -> None:
        pass

    def on_headers_complete(self) -> None:
        pass

    def on_body(self, body: bytes) -> None:
        pass

    def on_message_complete(self) -> None:
        pass


def feed_of(module: ModuleType) -> Any:
    return module.HttpRequestParser(Silent()).feed_data


def main() -> None:
    mine, theirs = feed_of(ours), feed_of(httptools)
    for name, head in (("GET, 3 fields", SMALL), ("browser, 12 fields", BROWSER)):
        assert head.count(b"\r\n") - 2 == int(name.split()[-2])
        compare(
            (f"{name}, ours", lambda head=head: mine(head)),
            (f"{name}, httptools", lambda head=head: theirs(head)),
            20_000,
        )
    compare(("parse_url, ours", lambda: ours.parse_url(URL)), ("httptools", lambda: httptools.parse_url(URL)), 50_000)


if __name__ == "__main__":
    main()
