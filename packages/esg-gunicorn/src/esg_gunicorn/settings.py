"""From gunicorn's settings to ESG's options: what becomes of each, and which have no meaning here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from esg import Config
from esg.options import from_environment

# gunicorn ends a worker that is not done within graceful_timeout by SIGKILL: so much earlier, in seconds and at most,
# ours tells the applications and cancels their tasks itself.
HEAD_START = 2.0
# Seconds between two signs of life, at most; the arbiter looks at them once a second.
BEAT = 1.0
# Method, version and the two blanks of an ordinary request line, beside the target.
AROUND_TARGET = len("GET  HTTP/1.1")

WITHOUT_MEANING = {
    "threads": "requests share one event loop; worker_connections limits them",
    "tmp_upload_dir": "bodies are streamed to the application, never kept in files",
    "secure_scheme_headers": "X-Forwarded-Proto and Forwarded are read, from peers in forwarded_allow_ips",
    "forwarder_headers": "no field of a request changes its path",
    "header_map": "field names reach the application as they are, underscores too",
    "sendfile": "the application chooses sendfile, by the ASGI extensions pathsend and zerocopysend",
    "suppress_ragged_eofs": "a TLS connection that ends without notice ends its request as any other does",
    "do_handshake_on_connect": "handshakes never hold up other connections",
    "permit_obsolete_folding": "folded fields are refused (RFC 9112 section 5.2)",
    "strip_header_spaces": "blanks before a colon are refused (RFC 9112 section 5.1)",
    "permit_unconventional_http_method": "methods are those that llhttp knows",
    "permit_unconventional_http_version": "versions are 1.0 and 1.1",
    "casefold_http_method": "methods are case-sensitive (RFC 9110 section 9.1)",
    "http_parser": "ESG has one parser, on llhttp",
    "http_protocols": "ESG speaks HTTP/1.1",
    "http2_cleartext": "ESG speaks HTTP/1.1",
    "http2_max_concurrent_streams": "ESG speaks HTTP/1.1",
    "http2_initial_window_size": "ESG speaks HTTP/1.1",
    "http2_max_frame_size": "ESG speaks HTTP/1.1",
    "http2_max_header_list_size": "ESG speaks HTTP/1.1",
    "asgi_disconnect_grace_period": "an application whose client has left is told, not cancelled",
    "protocol": "ESG speaks HTTP, not uwsgi",
    "uwsgi_allow_ips": "ESG speaks HTTP, not uwsgi",
}
"""gunicorn's settings that change nothing here, and why."""


# Options of ESG that say what the arbiter does, or did before there was a worker, and how gunicorn's loggers write.
ARBITERS = (
    "app", "bind", "host", "port", "uds", "uds_mode", "uds_owner", "fd", "reuse_port", "backlog", "workers", "preload",
    "app_dir", "factory", "env_file", "limit_max_requests", "limit_max_requests_jitter", "timeout_worker_healthcheck",
    "reload", "reload_dirs", "reload_includes", "reload_excludes", "reload_delay",
    "log_level", "log_config", "use_colors", "log_format", "log_file", "access_log_file",
)  # fmt: skip
ARBITERS_REASON = "has no meaning under gunicorn, which has settings of its own for that"
# For settings whose 0 is no limit, where ESG's option has to have one.
BOUNDLESS = 1 << 40


def from_gunicorn(cfg: Any) -> dict[str, Any]:
    """ESG's options as gunicorn's settings have them, for those settings that this gunicorn knows."""
    options: dict[str, Any] = {
        "backlog": cfg.backlog,
        "workers": cfg.workers,  # who share a socket
        "timeout_keep_alive": float(cfg.keepalive),
        "timeout_graceful_shutdown": graceful_timeout(cfg.graceful_timeout),
        "limit_concurrency": cfg.worker_connections or None,
        "limit_header_count": cfg.limit_request_fields or None,
        "limit_target_size": max(cfg.limit_request_line - AROUND_TARGET, 16) if cfg.limit_request_line else None,
        "limit_header_size": cfg.limit_request_field_size or None,
        "access_log_format": cfg.access_log_format,
        # gunicorn trusts whoever may open a UNIX socket.
        "forwarded_allow_ips": ",".join([*cfg.forwarded_allow_ips, "unix"]),
        # A switch once, later a word; ESG takes either version where it takes one.
        "proxy_protocol": cfg.proxy_protocol not in (False, "off"),
        "proxy_protocol_from": ",".join([*cfg.proxy_allow_ips, "unix"]),
        "loop": _get(cfg, "asgi_loop"),
        "lifespan": _get(cfg, "asgi_lifespan"),
        "ws_max_size": _get(cfg, "websocket_max_message_size", none=BOUNDLESS),
        "root_path": (_get(cfg, "root_path") or "").rstrip("/"),
    }
    # None is ESG's own default: where gunicorn has no limit, ESG's bound on the whole head still holds.
    return {name: value for name, value in options.items() if value is not None} | {"access_log": has_access_log(cfg)}


def has_access_log(cfg: Any) -> bool:
    """Whether gunicorn's settings ask for one: its access logger is there, and at its level, in any case."""
    files = cfg.accesslog or cfg.logconfig or cfg.logconfig_dict or _get(cfg, "logconfig_json")
    return bool(files or cfg.syslog and not cfg.disable_redirect_access_to_syslog)


def graceful_timeout(seconds: float) -> float:
    """ESG's time for a graceful stop, in seconds: a little less than what gunicorn waits before it kills."""
    return seconds - min(HEAD_START, seconds / 4)


def between_beats(timeout: float) -> float:
    """Seconds between two signs of life, for an arbiter that waits ``timeout`` seconds for one; 0 is for ever."""
    return min(BEAT, timeout / 4) if timeout else BEAT


def make_config(cfg: Any, own: Mapping[str, Any], requests: int | None = None) -> Config:
    """The server's configuration: a subclass's options, else ``ESG_*`` variables, else gunicorn's settings.

    Args:
        cfg: gunicorn's configuration.
        own: options of a subclass.
        requests: after how many requests the worker ends.

    Raises:
        TypeError: for an option that ESG does not have.
        ValueError: for a value that an option cannot take, or a variable that has one.
    """
    if not isinstance(own, Mapping):
        raise TypeError(f"CONFIG of the worker's class is to be a dictionary of options, not {own!r}")
    given = {**from_environment(Config), **own}
    workers = {name: value for name, value in given.items() if name not in ARBITERS}
    options = {**from_gunicorn(cfg), **workers, "log_config": None}
    if requests is not None:
        options["limit_max_requests"] = requests
    return Config("", **options)


def without_meaning(cfg: Any, own: Mapping[str, Any]) -> Iterator[str]:
    """A line for each setting that was given another value than its default, and that changes nothing.

    Args:
        cfg: gunicorn's configuration.
        own: options of a subclass.
    """
    for name, reason in WITHOUT_MEANING.items():
        setting = cfg.settings.get(name)
        if setting is not None and setting.get() != type(setting)().get():
            yield f"{name} has no meaning for ESG: {reason}"
    for name in ARBITERS:
        if f"ESG_{name.upper()}" in os.environ:
            yield f"ESG_{name.upper()} {ARBITERS_REASON}"
        if name in own:
            yield f"CONFIG[{name!r}] {ARBITERS_REASON}"


def _get(cfg: Any, name: str, none: Any = 0) -> Any:
    """A setting that older gunicorns do not have; ``none`` is what its 0 becomes."""
    value = cfg.settings[name].get() if name in cfg.settings else None
    return none if value == 0 else value
