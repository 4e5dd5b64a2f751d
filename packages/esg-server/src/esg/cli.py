"""The ``esg`` command. Its options are the fields of :class:`esg.config.Config`; only what no server needs is here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import click

from esg import __version__
from esg.config import Config
from esg.options import OptionOfField, Sources, options_of, source_of, variables_of, without_words
from esg.sources import ConfigFile, check_kind, find_config_file, load_env_file, read_config_file

# Where --help shows an option, by the beginning of its name.
GROUPS = {
    "Listening": ("host", "port", "bind", "uds", "fd", "backlog", "reuse_port"),
    "Application": ("app_dir", "factory", "interface", "lifespan", "loop", "root_path", "reset_contextvars"),
    "Configuration": ("env_file", "config", "check"),
    "Proxies": ("proxy_", "forwarded_"),
    "Logs": ("log_", "use_colors", "access_log", "request_id"),
    "Processes": ("workers", "preload", "limit_max_requests", "limit_worker_", "timeout_worker_"),
    "Reloading": ("reload",),
    "Limits and timeouts": ("limit_", "timeout_", "minimum_"),
    "WebSockets": ("ws",),
    "TLS": ("ssl_",),
    "Stopping and restarting": ("readiness_", "drain_"),
    "Responses": ("header", "server_header", "date_header"),
    "Taken from uvicorn, without effect": ("http", "h11_"),
    "Other": ("",),
}


class UsageError(click.ClickException):
    """What is wrong with a command line, in one line."""

    exit_code = 2


class Command(click.Command):
    """A command whose ``--help`` lists the options in groups, and whose errors have one line."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line():
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, without_words(args, self.params))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in GROUPS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                rows[group_of(param)].append(record)
        for title, records in rows.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records, col_max=32)


def group_of(option: click.Option) -> str:
    """The title under which ``--help`` shows an option."""
    return next(title for title, starts in GROUPS.items() if (option.name or "").startswith(starts))


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Without click's three lines of usage above an error."""
    try:
        yield
    except click.MissingParameter:
        raise UsageError("APP is missing, as in: esg example:app (esg --help lists the options)") from None
    except click.UsageError as error:
        raise UsageError(error.format_message()) from None


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import platform  # milliseconds, for this alone

        python = f"{platform.python_implementation()} {platform.python_version()}"
        click.echo(f"Running esg {__version__} with {python} on {platform.system()}")
        ctx.exit()


def _load_env_file(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Before anything else is read: it may set ``ESG_*``."""
    if value is not None:
        with _blamed_on(ctx, param):
            sources = ctx.ensure_object(Sources)
            sources.env_file, sources.env_names = value, load_env_file(value)
    return value


def _read_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Before the options that it may set."""
    names = [other.name or "" for other in ctx.command.params if other.expose_value and other.name != "check"]
    with _blamed_on(ctx, param):
        found = find_config_file(names) if value is None else read_config_file(value, names)
    if found is not None:
        ctx.ensure_object(Sources).file = found.name
        ctx.default_map = dict(_checked(found, ctx.command.params))
        if "env_file" in ctx.params and ctx.params["env_file"] is None:
            # It has had its turn before there was a file to name one.
            env_file = next(other for other in ctx.command.params if other.name == "env_file")
            ctx.params["env_file"], _ = env_file.handle_parse_result(ctx, {}, [])


def _checked(found: ConfigFile, params: list[click.Parameter]) -> Iterator[tuple[str, Any]]:
    options = {param.name: param for param in params if isinstance(param, OptionOfField)}
    for name, value in found.values.items():
        try:
            if name not in options:  # APP
                check_kind(name, value, str)
            yield name, options[name].value_in_file(value) if name in options else value
        except ValueError as error:
            raise click.UsageError(f"Invalid value for {name} in {found.name}: {error}") from None


@contextlib.contextmanager
def _blamed_on(ctx: click.Context, param: click.Parameter) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        source = source_of(ctx, param)
        raise click.UsageError(str(error) if source == "default" else f"{source}: {error}") from None


@click.pass_context
def _serve(ctx: click.Context, /, app: str, check: bool, env_file: str | None, **options: Any) -> None:
    # Imported here: `esg --help` and a mistyped flag need no event loop.
    from esg.start import check_config, run_config

    try:
        config = Config(app, **options)
    except ValueError as error:  # of several options together
        raise click.UsageError(str(error)) from None
    config.env_file = env_file  # only noted: it has been read, and a pipe can be read only once
    if check:
        _print_settings(ctx, config)
        check_config(config)
    else:
        run_config(config)


def _print_settings(ctx: click.Context, config: Config) -> None:
    from esg.check import Setting, lines, strangers

    settings = []
    for param in ctx.command.params:
        name, secret = param.name or "", getattr(param, "secret", False)
        if hasattr(config, name):  # all but --check and the like
            settings.append(Setting(name, getattr(config, name), source_of(ctx, param), secret))
    variables = [name for param in ctx.command.params for name in variables_of(param)]
    click.echo("\n".join([*lines(settings), *strangers(variables)]))


def _options() -> Iterator[OptionOfField]:
    titles = list(GROUPS)
    for option in sorted(options_of(Config), key=lambda option: titles.index(group_of(option))):
        if option.name == "env_file":
            option.is_eager, option.callback = True, _load_env_file
        yield option


main = Command(
    name="esg",
    callback=_serve,
    help="Serve the ASGI application APP, written as module:attribute.",
    epilog="Every option can also be a variable (ESG_LOG_LEVEL, and ESG_APP for APP) or a key of a file "
    "(log_level). A flag is stronger than a variable, and a variable than a file.",
    context_settings={"max_content_width": 120},
    params=[
        click.Argument(["app"], envvar="ESG_APP"),
        *_options(),
        click.Option(
            ["--config"],
            metavar="FILE",
            envvar="ESG_CONFIG",
            is_eager=True,
            expose_value=False,
            callback=_read_config,
            help="File of options in TOML; without it, [tool.esg] of ./pyproject.toml",
        ),
        click.Option(
            ["--check"],
            is_flag=True,
            help="Load everything, print what the options come to and where from, and serve nothing",
        ),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Print the version and exit",
        ),
    ],
)
