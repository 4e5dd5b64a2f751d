"""What one server does: every option of the ``esg`` command and of :func:`esg.run`, one field each."""

from __future__ import annotations

import copy
import dataclasses
import io
import os
from collections.abc import Callable, Iterable
from typing import Any, get_args, get_type_hints

from esg_protocols.settings import at_least, between, option

from esg import places
from esg.compatibility import Accepted
from esg.headers import check_headers
from esg.hints import did_you_mean
from esg.logging import LEVELS, LOGGING_CONFIG
from esg.proxy import DEFAULT_ALLOW, check_allow, check_fields
from esg.sources import load_env_file

STARTUP_FAILURE = 3
"""Exit code of a server that could not start, the same as uvicorn's: supervisors stop on it."""


BUILT_IN = "built-in"
"""What ``log_config`` is until somebody says otherwise."""


MOST_WORKERS = 1024
"""More than any machine has use for: a port given to ``workers`` by mistake must not fill it with processes."""


LOOPS = ("auto", "asyncio", "uvloop", "zuvloop", "none")
"""The words that ``loop`` takes."""


class StartupError(Exception):
    """The server cannot start; the message is one line for the person who started it.

    A ``__cause__`` is the application's own exception, whose traceback is theirs to read.
    """


def _ssl_version(value: int) -> None:
    if value in (3, 4):
        raise ValueError(f"{int(value)} is TLS 1.{value - 3}, which is not secure; 17 is every version that is")
    if value not in (2, 5, 17):
        raise ValueError(f"{int(value)} is not 17 (every version that is secure), 2 (the same) or 5 (TLS 1.2 alone)")


def _several(value: Any) -> tuple[Any, ...]:
    """One, several or none, as uvicorn's callers write them; a header may be a pair there."""
    if value is None:
        return ()
    one = isinstance(value, (str, os.PathLike)) or not isinstance(value, Iterable)
    values = (value,) if one else tuple(value)
    return tuple(map(_spelled_out, values))


def _spelled_out(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], str):
        return ":".join(value)
    return value


def _loop(value: str) -> None:
    if value not in LOOPS and ":" not in value:
        raise ValueError(f"{value!r} is not one of {', '.join(LOOPS)}, nor module:attribute")


def _log_config(value: Any) -> None:
    if not isinstance(value, (dict, str, os.PathLike)) and not hasattr(value, "readline"):
        raise ValueError(f"{value!r} is not a dictionary, the name of a file, an open file or None")


def _context_factory(value: Any) -> None:
    if not callable(value):
        raise ValueError(f"{value!r} cannot be called; it must take a Config and a function that makes an SSLContext")


def _line_format(value: str) -> None:
    # Imported here: hardly anybody asks, and it brings asyncio with it.
    from esg_protocols.asgi.line_format import LineFormat

    LineFormat(value)


@dataclasses.dataclass(kw_only=True)
class Config(Accepted):
    """Every option of a server.

    Args:
        app: the application, or where to import it from as ``"module:attribute"``.

    Raises:
        TypeError: for an option that does not exist, with the nearest that does.
        ValueError: for a value that an option cannot take.
    """

    app: Callable[..., Any] | str = dataclasses.field(kw_only=False)
    host: str = option("127.0.0.1", "Address or host name to listen on; :: takes IPv6 and IPv4.")
    port: int = option(8000, "Port to listen on; 0 picks a free one.", check=places.port)
    bind: tuple[str, ...] = option(
        (),
        "Where to listen, instead of host and port: HOST:PORT, [IPV6]:PORT, :PORT for every interface, unix:PATH, "
        "fd:N, systemd or systemd:NAME. May be repeated.",
        check=places.bind,
    )
    uds: str | None = option(None, "UNIX socket to listen on.", check=places.path)
    uds_mode: str | None = option(
        None,
        "Mode of a UNIX socket's file, octal: 666, or 660 where an owner is named.",
        check=places.mode,
    )
    uds_owner: str | None = option(
        None,
        "Owner of a UNIX socket's file: USER, USER:GROUP or :GROUP.",
        check=places.owner,
    )
    fd: int | None = option(None, "Descriptor of a bound socket to listen on, TCP or UNIX.", check=places.descriptor)
    backlog: int = option(2048, "Connections the system queues before they are accepted.", check=between(1, 2**31 - 1))
    reuse_port: bool = option(
        False, "Give each worker a listening socket of its own (SO_REUSEPORT); the system spreads connections evenly."
    )
    env_file: str | None = option(
        None,
        "File of variables, as .env, set before ESG_* are read; those that are set already stay as they are.",
    )
    app_dir: str | None = option(".", "Directory to import APP from, put first on the import path.")
    factory: bool = option(False, "APP is a function without arguments that returns the application.")
    interface: str = option(
        "auto",
        "Kind of application that APP is; auto looks what arguments it takes. WSGI needs a2wsgi.",
        choices=("auto", "asgi3", "asgi2", "wsgi"),
    )
    lifespan: str = option(
        "auto",
        "Run the app's startup and shutdown; auto serves an app that has none.",
        choices=("auto", "on", "off"),
    )
    loop: str = option(
        "auto",
        "Event loop: asyncio, uvloop, zuvloop, none (the event loop policy's) or module:attribute, what makes one. "
        "auto takes uvloop where it is installed.",
        check=_loop,
    )
    reset_contextvars: bool = option(
        False, "Run each request in an empty context, without the variables that were set before or in the lifespan."
    )
    headers: tuple[str, ...] = option(
        (),
        "Field that every response has, as Name:Value, beside those of the app. May be repeated.",
        check=check_headers,
        separator="\n",
    )
    proxy_headers: bool = option(True, "Let proxies that are trusted say who the client is and what it asked.")
    forwarded_allow_ips: str | None = option(
        None,
        "Proxies that are trusted: addresses, networks, unix for all UNIX sockets, paths of some, or * for everybody, "
        "with commas. [default: $FORWARDED_ALLOW_IPS, or 127.0.0.1,::1,unix]",
        check=check_allow,
        variable="FORWARDED_ALLOW_IPS",
    )
    forwarded_headers: str = option(
        "X-Forwarded-For,X-Forwarded-Proto,X-Forwarded-Port",
        "Fields that these proxies set or remove, with commas; all others are left to the app.",
        check=check_fields,
    )
    proxy_protocol: bool = option(
        False,
        "Take the client from a PROXY protocol header, version 1 or 2, with which every connection must begin.",
    )
    proxy_protocol_from: str = option(
        DEFAULT_ALLOW,
        "Who may send that header, and connect at all then: as for --forwarded-allow-ips.",
        check=check_allow,
    )
    workers: int = option(
        None,
        "Processes that serve, watched and replaced by one more; $WEB_CONCURRENCY or 1 where it is not given.",
        check=between(1, MOST_WORKERS),
        variable="WEB_CONCURRENCY",
    )
    preload: bool = option(
        False,
        "Import APP before workers are forked, for them to share its memory; a reload does not take new code.",
    )
    reload: bool = option(False, "Start again when files of the application change; for development.")
    reload_dirs: tuple[str, ...] = option(
        (), "Directory to watch, with all below it; the current one if none is given.", separator=os.pathsep
    )
    reload_includes: tuple[str, ...] = option((), "Pattern of files to watch besides *.py.")
    reload_excludes: tuple[str, ...] = option(
        (), "Pattern of files not to watch, or a directory, besides .*, .py[cod], .sw.* and ~*."
    )
    reload_delay: float = option(0.25, "Seconds between two looks at the files.", check=at_least(0))
    limit_max_requests: int | None = option(
        None,
        "Requests after which a worker is replaced; without workers the server stops, gracefully.",
        check=at_least(1),
    )
    limit_max_requests_jitter: int = option(
        0,
        "Up to so many requests more, by chance, so that several servers do not stop at once.",
        check=at_least(0),
    )
    limit_worker_age: float | None = option(
        None,
        "Seconds after which a worker is replaced, as by requests.",
        check=at_least(1),
    )
    limit_worker_age_jitter: float = option(
        0.0,
        "Up to so many seconds more, by chance.",
        check=at_least(0),
    )
    limit_worker_memory: int | None = option(
        None,
        "Memory (RSS) in MiB beyond which a worker is replaced, as by requests.",
        check=at_least(1),
    )
    timeout_worker_healthcheck: float = option(
        60.0,
        "Seconds a worker's event loop may be blocked before the worker is killed and replaced; 0 is no limit.",
        check=at_least(0),
    )
    timeout_graceful_shutdown: float | None = option(
        30.0,
        "Seconds a stop waits for requests to end; apps are told a little before it is over. 0 is not at all, inf no "
        "limit.",
        check=at_least(0),
    )
    drain_delay: float = option(
        0.0,
        "Seconds a stop goes on accepting, answering 503 at readiness_path, before it closes the listening sockets.",
        check=at_least(0),
    )
    ssl_certfile: tuple[str, ...] = option(
        (),
        "Certificate and those that vouch for it, in PEM: serves TLS. Of several the name that a client asks for "
        "chooses; the first is for all others.",
        separator=os.pathsep,
    )
    ssl_keyfile: tuple[str, ...] = option(
        (),
        "Private key of each certificate, in PEM; none where the keys are in the same files.",
        separator=os.pathsep,
    )
    ssl_keyfile_password: str | None = option(None, "Password of encrypted private keys.", secret=True)
    ssl_ca_certs: str | None = option(None, "Authorities, in PEM, whose certificates clients may show.")
    ssl_cert_reqs: int = option(
        0,
        "Whether clients show a certificate: 0 no, 1 if they have one, 2 always.",
        check=between(0, 2),
    )
    ssl_minimum_version: str = option("1.2", "Least version of TLS.", choices=("1.2", "1.3"))
    ssl_version: int = option(
        17,
        "Versions of TLS as Python's ssl module numbers them: 17 and 2 are all from the least on, 5 is TLS 1.2 alone.",
        check=_ssl_version,
    )
    ssl_ciphers: str | None = option(None, "Ciphers for TLS 1.2 as OpenSSL writes them. None is Python's choice.")
    ssl_reload_interval: float = option(
        10.0,
        "Seconds between looks at the certificates' files; new ones are taken as they come. 0 is never.",
        check=at_least(0),
    )
    ssl_transport: str = option(
        "auto",
        "What encrypts: aiofastnet, or the event loop itself; auto takes aiofastnet where it is installed and can.",
        choices=("auto", "aiofastnet", "loop"),
    )
    ssl_context_factory: Callable[..., Any] | None = dataclasses.field(
        default=None,
        metadata={
            "help": "Called with the configuration and a function that makes the default ssl.SSLContext; returns one.",
            "flag": False,
            "check": _context_factory,
        },
    )
    log_level: str | None = option(
        None,
        "Least level to log; trace has every ASGI message. Without it: what the log configuration says, or info.",
        choices=tuple(LEVELS),
    )
    log_config: dict[str, Any] | str | os.PathLike[str] | io.TextIOBase | None = option(
        BUILT_IN,
        "File for logging.config: .json, .yaml or ini. From Python also a dictionary; None leaves logging alone.",
        check=_log_config,
    )
    use_colors: bool | None = option(None, "Colour the logs; without either, where they go to a terminal.")
    log_format: str = option(
        "text",
        "What log lines are: text, or one JSON object each, for both logs.",
        choices=("text", "json"),
    )
    log_file: str | None = option(
        None,
        "File that all but the access log is appended to, instead of stderr; SIGHUP reopens it.",
    )
    access_log: bool = option(True, "Log one line for each response.")
    access_log_format: str | None = option(
        None,
        "A line of the access log, in gunicorn's atoms or in words: '%(h)s \"%(r)s\" %(s)s %(B)s %(duration)s'.",
        check=_line_format,
    )
    access_log_file: str | None = option(
        None,
        "File that the access log is appended to, instead of stdout; SIGHUP reopens it.",
    )

    def __new__(cls, *args: Any, **options: Any) -> Config:
        # The generated __init__ refuses an unknown name too, but only Python 3.13 says which one was meant.
        names = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in names:
                raise TypeError(f"{cls.__name__} has no option {name!r}{did_you_mean(name, names)}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if self.env_file:
            self._load_env_file(self.env_file)
        self._read_variables()
        level: Any = self.log_level
        if isinstance(level, int):
            # As logging has them; one that has no word is refused as it came.
            level = next((word for word, number in LEVELS.items() if number == level), level)
        self.log_level = level.lower() if isinstance(level, str) else level
        if self.log_config == BUILT_IN:
            self.log_config = copy.deepcopy(LOGGING_CONFIG)
        elif self.log_config != LOGGING_CONFIG:
            self._check_log_options()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.default == ():
                setattr(self, field.name, _several(value))
            elif isinstance(value, os.PathLike) and field.name != "log_config":
                setattr(self, field.name, os.fspath(value))
        allowed: Any = self.forwarded_allow_ips
        if isinstance(allowed, list | tuple):
            self.forwarded_allow_ips = ",".join(allowed)
        if self.workers is None:
            self.workers = 1
        if self.timeout_graceful_shutdown == float("inf"):
            self.timeout_graceful_shutdown = None
        super().__post_init__()

    def _load_env_file(self, path: str) -> None:
        try:
            load_env_file(path)
        except ValueError as error:
            raise ValueError(f"env_file: {error}") from None

    def _read_variables(self) -> None:
        """Take what platforms say, for options that nobody has set; the command has asked for them already."""
        for field in dataclasses.fields(self):
            variable = field.metadata.get("variable")
            if variable and variable in os.environ and getattr(self, field.name) is None:
                setattr(self, field.name, _converted(variable, get_type_hints(type(self))[field.name]))

    def _check_log_options(self) -> None:
        for name in ("log_format", "log_file", "access_log_file"):
            if getattr(self, name) not in (None, "text"):
                raise ValueError(f"{name}: the log configuration says that; leave one of them out")

    @property
    def is_ssl(self) -> bool:
        """Whether the server speaks TLS."""
        return bool(self.ssl_certfile or self.ssl_keyfile or self.ssl_context_factory)


def _converted(variable: str, hint: Any) -> Any:
    """The value of a variable, as an option of that type has it."""
    value = os.environ[variable]
    if int not in (hint, *get_args(hint)):
        return value
    try:
        return int(value) if value else None
    except ValueError:
        raise ValueError(f"${variable}: {value!r} is not an integer") from None
