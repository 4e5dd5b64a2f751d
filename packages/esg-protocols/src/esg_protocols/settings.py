"""Every limit and timeout of a connection: default, help and check, one field each.

A server's own configuration extends :class:`Settings`; its flags, variables, ``--help`` and reference page are
derived from the same fields, so a fact about an option stands here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

KIB = 1024

PARSER_MOST = 2**31 - 1
"""The largest limit that esg-parser takes."""


def option(
    default: Any,
    help: str,
    *,
    check: Callable[[Any], None] | None = None,
    choices: tuple[str, ...] = (),
    flag: bool = True,
    secret: bool = False,
    variable: str | None = None,
    separator: str | None = None,
) -> Any:
    """Declare one option as a dataclass field.

    Args:
        default: the value when nobody says otherwise; its annotation is the option's type.
        help: one line for people, units included.
        check: raises ``ValueError`` naming what is wrong with a value.
        choices: the words the option takes, where it takes words.
        flag: whether a command line shows it.
        secret: whether the value must not be shown.
        variable: a variable of the environment that platforms set, read where the option's own is not.
        separator: what stands between several values in a variable; None is white space.
    """
    metadata = {
        "help": help,
        "check": check,
        "choices": choices,
        "flag": flag,
        "secret": secret,
        "variable": variable,
        "separator": separator,
    }
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


def at_least(low: float, most: int = 2**63 - 1) -> Callable[[Any], None]:
    """A check that a number is ``low`` or more, and an integer ``most`` or less: what compiled code can hold."""

    def check(value: Any) -> None:
        if not value >= low:  # nor is nan, which is neither more nor less
            raise ValueError(f"{value!r} is too small, it must be {low} or more")
        if isinstance(value, int) and value > most:
            raise ValueError(f"{value!r} is too large, it must be {most} or less")

    return check


def between(low: float, high: float) -> Callable[[Any], None]:
    """A check that a number is from ``low`` to ``high``, both included."""

    def check(value: Any) -> None:
        if not low <= value <= high:
            raise ValueError(f"{value!r} is not from {low} to {high}")

    return check


# What an annotation of an option takes, and how to call it.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool, int), "True or False"),
    "int": ((int,), "an integer"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a string"),
    "tuple[str, ...]": ((tuple,), "a list of strings"),
    "None": ((type(None),), "None"),
}
_ANYTHING = ((object, bool), "")


@functools.cache
def _kinds(annotation: str) -> tuple[tuple[type, ...], str]:
    """The types that an annotation takes, and how to call them."""
    found = [_KINDS.get(name, _ANYTHING) for name in annotation.split(" | ")]
    return tuple(kind for kinds, _ in found for kind in kinds), " or ".join(name for _, name in found)


def _check_kind(annotation: str, value: Any) -> None:
    """See that a value has the type of its option: ``"off"`` would be true, and ``"80"`` fail much later."""
    kinds, names = _kinds(annotation)
    # A bool is an int to Python; who passes one for a number means something else.
    if not isinstance(value, kinds) or type(value) is bool and bool not in kinds:
        raise ValueError(f"{value!r} is not {names}")
    for one in value if type(value) is tuple else ():
        if not isinstance(one, str):
            raise ValueError(f"{one!r} is not a string")


def _root_path(value: str) -> None:
    if value and (value[0] != "/" or value[:2] == "//" != value):
        raise ValueError(f"{value!r} must begin with one slash, as /api does")


def _field_name(value: str) -> None:
    if (
        not value
        or not value.isascii()
        or not all(character.isalnum() or character in "!#$%&'*+-.^_`|~" for character in value)
    ):
        raise ValueError(f"{value!r} is no name of a header field, as x-request-id is")


def _readiness_path(value: str) -> None:
    if not value.startswith("/"):
        raise ValueError(f"{value!r} must begin with a slash, as /ready does")


def check_options(options: Any) -> None:
    """Run every field's check on a dataclass of options.

    Raises:
        ValueError: naming the option, its value and what would do.
    """
    for field in dataclasses.fields(options):
        _check_field(field, getattr(options, field.name))


def _check_field(field: dataclasses.Field[Any], value: Any) -> None:
    choices = field.metadata.get("choices")
    if choices and value not in (*choices, field.default):
        raise ValueError(f"{field.name}: {value!r} is not one of {', '.join(choices)}")
    try:
        _check_value(str(field.type), field.metadata.get("check"), value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{field.name}: {error}") from None


def _check_value(annotation: str, check: Callable[[Any], None] | None, value: Any) -> None:
    # The check goes first: it may know what was meant.
    try:
        if check is not None and value is not None:
            check(value)
    except (TypeError, AttributeError):
        _check_kind(annotation, value)
        raise
    _check_kind(annotation, value)


@dataclasses.dataclass(kw_only=True)
class Settings:
    """What one connection is allowed and how it answers. Sizes are bytes, times are seconds."""

    limit_head_size: int = option(
        64 * KIB,
        "Largest request head (request line and header fields) in bytes; beyond it 431.",
        check=at_least(256, PARSER_MOST),
    )
    limit_header_count: int = option(
        100,
        "Most header fields in one request; beyond it 431.",
        check=at_least(1, PARSER_MOST),
    )
    limit_header_size: int | None = option(
        None,
        "Largest header field in bytes, name and value; beyond it 431. Without it only the whole head is limited.",
        check=at_least(1, PARSER_MOST),
    )
    limit_target_size: int = option(
        16 * KIB,
        "Longest request target in bytes; beyond it 414.",
        check=at_least(16, PARSER_MOST),
    )
    limit_request_body: int | None = option(
        None,
        "Largest request body in bytes; beyond it 413.",
        check=at_least(0),
    )
    limit_concurrency: int | None = option(
        None,
        "Most connections, and most requests in work; beyond it 503 with Retry-After.",
        check=at_least(1),
    )
    limit_requests_per_connection: int | None = option(
        None,
        "Most requests on one connection, which ends with the last of them.",
        check=at_least(1),
    )
    timeout_request_head: float = option(
        30.0,
        "Seconds a client may take for a request head, and for the first byte on a new connection; beyond it 408. "
        "0 is no limit.",
        check=at_least(0),
    )
    timeout_request_body: float = option(
        30.0,
        "Seconds a request body may stall, or stay below the minimum rate, while the app waits for it; beyond it 408. "
        "0 is no limit.",
        check=at_least(0),
    )
    timeout_write: float = option(
        30.0,
        "Seconds a client may leave its response unread, or take it below the minimum rate; then the connection is "
        "dropped. 0 is no limit.",
        check=at_least(0),
    )
    timeout_request: float = option(
        0.0,
        "Seconds from a request head to the end of its response; beyond it 503, and the app is cancelled. "
        "0 is no limit.",
        check=at_least(0),
    )
    minimum_rate: int = option(
        240,
        "Bytes a second at which a body must come and a response be taken, on average. 0 is any.",
        check=at_least(0),
    )
    timeout_keep_alive: float = option(
        5.0,
        "Seconds an idle connection is kept open for its next request.",
        check=at_least(0),
    )
    root_path: str = option(
        "",
        "Path below which the app is mounted, as a proxy that strips it has it; it comes before every path.",
        check=_root_path,
    )
    readiness_path: str | None = option(
        None,
        "Path at which the server itself answers GET: 200, or 503 while it has too much to do or is about to stop.",
        check=_readiness_path,
    )
    server_header: bool = option(True, "Send a default Server header.")
    date_header: bool = option(True, "Send a default Date header.")
    read_buffer_size: int = option(
        64 * KIB,
        "Body bytes kept for an app that does not read before the socket is paused.",
        check=at_least(1),
        flag=False,
    )
    write_buffer_size: int = option(
        64 * KIB,
        "Response bytes kept for a client that does not read before the app waits in send.",
        check=at_least(0),
        flag=False,
    )
    request_id_header: str | None = option(
        None,
        "Give each request an id, as in x-request-id: taken from this field where a trusted proxy sends it, or "
        "made; it is in the response, the access log and scope['state']['request_id'].",
        check=_field_name,
    )
    ws: str = option(
        "auto",
        "WebSockets: the server's own (esg, auto), a library's, or none, so that apps get such requests as HTTP.",
        choices=("auto", "none", "esg", "websockets", "wsproto"),
    )
    ws_max_size: int = option(
        16 * KIB * KIB,
        "Largest WebSocket message in bytes, after decompression; beyond it close code 1009.",
        check=at_least(1),
    )
    ws_max_queue: int = option(
        32,
        "WebSocket messages kept for an app that does not receive before the socket is paused.",
        check=at_least(1),
    )
    ws_ping_interval: float = option(
        20.0,
        "Seconds between WebSocket pings. 0 is none.",
        check=at_least(0),
    )
    ws_ping_timeout: float = option(
        20.0,
        "Seconds a client may take for a pong before its WebSocket is closed. 0 is no limit.",
        check=at_least(0),
    )
    ws_per_message_deflate: bool = option(
        True,
        "Compress WebSocket messages for clients that offer permessage-deflate.",
    )
    ws_deflate_window_bits: int = option(
        12,
        "Largest window of a WebSocket compressor as a power of two, 9 to 15, in both directions; a client that cannot "
        "limit its own uses up to 15.",
        check=between(9, 15),
    )
    ws_deflate_memory_level: int = option(
        5,
        "Memory of a WebSocket compressor beside its window, 1 to 9, as zlib has it; isal has its own.",
        check=between(1, 9),
    )
    ws_deflate_no_context_takeover: bool = option(
        False,
        "Compress each WebSocket message by itself: no memory is held between messages, and less is saved.",
    )
    ws_deflate_library: str = option(
        "auto",
        "What compresses WebSocket messages: zlib; isal, in a third of the time and to some 10 % more bytes; or auto, "
        "which is isal where it is installed.",
        choices=("auto", "zlib", "isal"),
    )
    ws_deflate_min_size: int = option(
        256,
        "Smallest WebSocket message in bytes that is compressed.",
        check=at_least(0),
    )

    def __post_init__(self) -> None:
        check_options(self)
        # Every path begins with a slash, and none shall have two.
        self.root_path = self.root_path.rstrip("/")
