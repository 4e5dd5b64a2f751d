"""What one server does: every option of the ``esg`` command and of :func:`esg.run`, one field each."""

from __future__ import annotations

import copy
import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

from esg_protocols.settings import Settings, at_least, option

from esg.logs import LEVELS, LOGGING_CONFIG

STARTUP_FAILURE = 3
"""Exit code of a server that could not start, the same as uvicorn's: supervisors stop on it."""


class StartupError(Exception):
    """The server cannot start; the message is one line for the person who started it.

    A ``__cause__`` is the application's own exception, whose traceback is theirs to read.
    """


def _port(value: int) -> None:
    if not 0 <= value <= 65535:
        raise ValueError(f"{value!r} is not a port, it must be 0 to 65535")


@dataclasses.dataclass(kw_only=True)
class Config(Settings):
    """Every option of a server.

    Args:
        app: the application, or where to import it from as ``"module:attribute"``.

    Raises:
        TypeError: for an option that does not exist, with the nearest that does.
        ValueError: for a value that an option cannot take.
    """

    app: Callable[..., Any] | str = dataclasses.field(kw_only=False)
    host: str = option("127.0.0.1", "Address or host name to listen on; :: takes IPv6 and IPv4.")
    port: int = option(8000, "Port to listen on; 0 picks a free one.", check=_port)
    backlog: int = option(2048, "Connections the system queues before they are accepted.", check=at_least(1))
    app_dir: str | None = option(".", "Directory to import APP from, put first on the import path.")
    factory: bool = option(False, "APP is a function without arguments that returns the application.")
    lifespan: str = option(
        "auto",
        "Run the app's startup and shutdown; auto serves an app that has none.",
        choices=("auto", "on", "off"),
    )
    loop: str = option(
        "auto",
        "Event loop; auto takes uvloop where it is installed.",
        choices=("auto", "asyncio", "uvloop"),
    )
    limit_max_requests: int | None = option(
        None,
        "Requests after which the server stops, gracefully.",
        check=at_least(1),
    )
    limit_max_requests_jitter: int = option(
        0,
        "Up to so many requests more, by chance, so that several servers do not stop at once.",
        check=at_least(0),
    )
    timeout_graceful_shutdown: float = option(
        30.0,
        "Seconds a stop waits for requests to end; apps are told a little before it is over. 0 is no limit.",
        check=at_least(0),
    )
    log_level: str = option("info", "Least level to log.", choices=tuple(LEVELS))
    access_log: bool = option(True, "Log one line for each response.")
    log_config: dict[str, Any] | None = dataclasses.field(
        default_factory=lambda: copy.deepcopy(LOGGING_CONFIG),
        repr=False,
        metadata={"help": "A logging.config dictionary; None leaves logging alone.", "flag": False},
    )

    def __new__(cls, *args: Any, **options: Any) -> Config:
        # The generated __init__ refuses an unknown name too, but only Python 3.13 says which one was meant.
        names = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in names:
                raise TypeError(f"{cls.__name__} has no option {name!r}{did_you_mean(name, names)}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self.log_level = self.log_level.lower()
        super().__post_init__()


def did_you_mean(word: str, words: list[str], form: str = "{}") -> str:
    """The end of an error message: the nearest of ``words`` to ``word``, put in ``form``, or nothing."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {form.format(near[0])!r}?" if near else ""
