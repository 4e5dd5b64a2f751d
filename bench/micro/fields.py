"""Header fields that repeat are made once: a browser's head whose values stay, against one whose values are new.

The second head has the same size; its fields differ in each of 1,000 variants, so that none of them is found again.
Run: python -m bench.micro.fields
"""

from __future__ import annotations

from itertools import cycle

from esg_parser import RequestParser

from bench.micro.compare import compare

FIELDS = (
    "Host: www.{n:06}.example",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:{n:06}.0) Gecko/20100101 Firefox/115.0",
    "Accept: text/html,application/xhtml+xml,application/x{n:06};q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.{n:06}",
    "Accept-Encoding: gzip, deflate, br, x{n:06}",
    "Cache-Control: max-age={n:06}",
)


def head(n: int) -> bytes:
    return ("\r\n".join(["GET /index.html HTTP/1.1", *(field.format(n=n) for field in FIELDS)]) + "\r\n\r\n").encode()


def main() -> None:
    same, new = cycle([head(0)]), cycle([head(n) for n in range(1000)])
    feed = RequestParser().feed
    compare(("fields that repeat", lambda: feed(next(same))), ("fields that are new", lambda: feed(next(new))), 20_000)


if __name__ == "__main__":
    main()
