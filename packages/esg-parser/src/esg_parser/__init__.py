"""HTTP/1.1 messages and URLs from bytes: llhttp and http-parser behind two small Cython modules."""

from esg_parser.errors import (
    ExpectationFailed,
    HeadTooLarge,
    MalformedMessage,
    ParserError,
    TargetTooLong,
    UnsupportedFeature,
    UnsupportedVersion,
)
from esg_parser.events import END, RequestHead, Trailers
from esg_parser.parser import RequestParser
from esg_parser.url import URL, InvalidURL, parse_url

__version__ = "0.1.0"

__all__ = [
    "END",
    "ExpectationFailed",
    "HeadTooLarge",
    "InvalidURL",
    "MalformedMessage",
    "ParserError",
    "RequestHead",
    "RequestParser",
    "TargetTooLong",
    "Trailers",
    "URL",
    "UnsupportedFeature",
    "UnsupportedVersion",
    "parse_url",
]
