"""HTTP/1.1 messages and URLs from bytes: llhttp and http-parser behind two small Cython modules."""

from esg_parser.errors import (
    ContentTooLarge,
    ExpectationFailed,
    HeadTooLarge,
    MalformedMessage,
    ParserError,
    TargetTooLong,
    UnsupportedFeature,
    UnsupportedVersion,
)
from esg_parser.events import END, UPGRADE, RequestHead, ResponseHead, Trailers
from esg_parser.parser import RequestParser, ResponseParser
from esg_parser.url import URL, InvalidURL, parse_url

__version__ = "0.1.0"

__all__ = [
    "ContentTooLarge",
    "END",
    "ExpectationFailed",
    "HeadTooLarge",
    "InvalidURL",
    "MalformedMessage",
    "ParserError",
    "RequestHead",
    "RequestParser",
    "ResponseHead",
    "ResponseParser",
    "TargetTooLong",
    "Trailers",
    "UPGRADE",
    "URL",
    "UnsupportedFeature",
    "UnsupportedVersion",
    "parse_url",
]
