"""Every limit and timeout of a connection: default, help and check, one field each.

A server's own configuration extends :class:`Settings`; its flags, variables, ``--help`` and reference page are
derived from the same fields, so a fact about an option stands here and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

KIB = 1024


def option(
    default: Any,
    help: str,
    *,
    check: Callable[[Any], None] | None = None,
    choices: tuple[str, ...] = (),
    flag: bool = True,
) -> Any:
    """Declare one option as a dataclass field.

    Args:
        default: the value when nobody says otherwise; its annotation is the option's type.
        help: one line for people, units included.
        check: raises ``ValueError`` naming what is wrong with a value.
        choices: the words the option takes, where it takes words.
        flag: whether a command line shows it.
    """
    metadata = {"help": help, "check": check, "choices": choices, "flag": flag}
    return dataclasses.field(default=default, metadata=metadata)


def at_least(low: float) -> Callable[[Any], None]:
    """A check that a number is ``low`` or more."""

    def check(value: Any) -> None:
        if value < low:
            raise ValueError(f"{value!r} is too small, it must be {low} or more")

    return check


def _root_path(value: str) -> None:
    if value and (not value.startswith("/") or value.endswith("/")):
        raise ValueError(f"{value!r} must begin with a slash and end without one, as /api does")


def check_options(options: Any) -> None:
    """Run every field's check on a dataclass of options.

    Raises:
        ValueError: naming the option, its value and what would do.
    """
    for field in dataclasses.fields(options):
        _check_field(field, getattr(options, field.name))


def _check_field(field: dataclasses.Field[Any], value: Any) -> None:
    choices, check = field.metadata.get("choices"), field.metadata.get("check")
    if choices and value not in choices:
        raise ValueError(f"{field.name}: {value!r} is not one of {', '.join(choices)}")
    if check is None or value is None:
        return
    try:
        check(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{field.name}: {error}") from None


@dataclasses.dataclass(kw_only=True)
class Settings:
    """What one connection is allowed and how it answers. Sizes are bytes, times are seconds."""

    limit_head_size: int = option(
        64 * KIB,
        "Largest request head (request line and header fields) in bytes; beyond it 431.",
        check=at_least(256),
    )
    limit_header_count: int = option(
        100,
        "Most header fields in one request; beyond it 431.",
        check=at_least(1),
    )
    limit_target_size: int = option(
        16 * KIB,
        "Longest request target in bytes; beyond it 414.",
        check=at_least(16),
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

    def __post_init__(self) -> None:
        check_options(self)
