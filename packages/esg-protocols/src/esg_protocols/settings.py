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
    timeout_keep_alive: float = option(
        5.0,
        "Seconds an idle connection is kept open for its next request.",
        check=at_least(0),
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
