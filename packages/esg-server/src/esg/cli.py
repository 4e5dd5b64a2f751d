"""The ``esg`` command. Its options are the fields of :class:`esg.config.Config`: none is declared here."""

from __future__ import annotations

import dataclasses
import platform
import types
import typing
from collections.abc import Callable
from typing import Any

import click

from esg import __version__
from esg.config import Config

# Where --help shows an option, by the beginning of its name.
GROUPS = {
    "Listening": ("host", "port", "backlog"),
    "Application": ("app_dir", "factory", "lifespan", "loop", "root_path"),
    "Logs": ("log_", "access_log"),
    "Limits and timeouts": ("limit_", "timeout_", "minimum_"),
    "Responses": ("server_header", "date_header"),
    "Other": ("",),
}


class OptionOfField(click.Option):
    """A flag made from one field of the configuration."""

    def __init__(self, field: dataclasses.Field[Any], hint: Any) -> None:
        name = field.name.replace("_", "-")
        super().__init__(
            [f"--{name}/--no-{name}" if hint is bool else f"--{name}"],
            type=_param_type(field, hint),
            default=field.default,
            show_default=hint is not bool,
            help=field.metadata["help"] + ("  [default: on]" if field.default is True else ""),
            callback=_checked(field.metadata["check"]),
        )
        self.group = next(title for title, starts in GROUPS.items() if field.name.startswith(starts))


class Command(click.Command):
    """A command whose ``--help`` lists the options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in GROUPS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                rows[getattr(param, "group", "Other")].append(record)
        for title, records in rows.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def options_of(config: type[Any]) -> list[OptionOfField]:
    """One flag for each field that a command line shows, in the order of :data:`GROUPS`."""
    hints = typing.get_type_hints(config)
    shown = [field for field in dataclasses.fields(config) if field.metadata.get("flag")]
    options = [OptionOfField(field, _without_none(hints[field.name])) for field in shown]
    titles = list(GROUPS)
    return sorted(options, key=lambda option: titles.index(option.group))


def _without_none(hint: Any) -> Any:
    """``int`` for ``int | None``."""
    if isinstance(hint, types.UnionType):
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return hint


def _param_type(field: dataclasses.Field[Any], hint: Any) -> Any:
    choices = field.metadata["choices"]
    return click.Choice(choices, case_sensitive=False) if choices else hint


def _checked(check: Callable[[Any], None] | None) -> Callable[..., Any]:
    """The field's own check, with an error that names the flag or the variable."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            if check is not None and value is not None:
                check(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None
        return value

    return callback


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        click.echo(f"Running esg {__version__} with {python} on {platform.system()}")
        ctx.exit()


def _serve(app: str, **options: Any) -> None:
    # Imported here: `esg --help` and a mistyped flag need no event loop.
    from esg.server import run_config

    run_config(Config(app, **options))


main = Command(
    name="esg",
    callback=_serve,
    help="Serve the ASGI application APP, written as module:attribute.",
    epilog="Every option also reads a variable: --log-level reads ESG_LOG_LEVEL, APP reads ESG_APP.",
    context_settings={"auto_envvar_prefix": "ESG", "max_content_width": 100},
    params=[
        click.Argument(["app"], envvar="ESG_APP"),
        *options_of(Config),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Print the version and exit.",
        ),
    ],
)
