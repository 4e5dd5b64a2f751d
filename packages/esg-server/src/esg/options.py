"""Flags made from the fields of a configuration, and where their values have come from."""

from __future__ import annotations

import dataclasses
import os
import re
import types
import typing
from typing import Any

import click
from click.core import ParameterSource

from esg.compatibility import ALIASES
from esg.sources import check_kind

# What may stand behind a switch: uvicorn has one that wants it, --ws-per-message-deflate.
WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

# Where the first sentence, or half of it, is over.
_SENTENCE = re.compile(r"[.;] |\.$")

# How --help calls the values of an option, by click's names for the types.
_VALUES = {"text": "TEXT", "integer": "N", "float": "N"}


@dataclasses.dataclass
class Sources:
    """What a command has read beside its arguments and the environment it was started in."""

    file: str = ""
    """The file of configuration, for messages."""
    env_file: str = ""
    env_names: set[str] = dataclasses.field(default_factory=set)
    """The variables that came from ``env_file``."""


class OptionOfField(click.Option):
    """A flag made from one field; a field of several values makes a flag of one, in the singular."""

    def __init__(self, field: dataclasses.Field[Any], hint: Any) -> None:
        one, self.kind = _kinds(hint)
        flag = (field.name.removesuffix("s") if self.kind is tuple else field.name).replace("_", "-")
        variables = (f"ESG_{field.name.upper()}", field.metadata["variable"])
        super().__init__(
            [field.name, f"--{flag}/--no-{flag}" if one is bool else f"--{flag}"],
            type=_param_type(field, one),
            multiple=self.kind is tuple,
            default=field.default,
            envvar=[name for name in variables if name],
            help=field.metadata["help"],
        )
        self.takes_table = any(typing.get_origin(kind) is dict for kind in typing.get_args(hint))
        self.check = field.metadata["check"]
        self.secret = field.metadata["secret"]
        self.separator = field.metadata["separator"]

    def value_from_envvar(self, ctx: click.Context) -> Any:
        value = self.resolve_envvar_value(ctx)
        if value is None or not self.multiple:
            return value
        return [part.strip() for part in value.split(self.separator) if part.strip()]

    def value_in_file(self, value: Any) -> Any:
        """A value from a file of configuration as click would have it.

        Raises:
            ValueError: when it is of another type.
        """
        if self.takes_table and isinstance(value, dict):
            return value
        check_kind(self.name, value, self.kind)
        return [value] if self.multiple and isinstance(value, str) else value

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        if isinstance(self.type, click.Choice):
            value = ALIASES.get(value, value)
        value = super().type_cast_value(ctx, value)
        try:
            if self.check is not None and value is not None:
                self.check(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, self) from None
        return value

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """For ``--help``, which is short: what an option is; what else there is to it stands in the reference."""
        text = _SENTENCE.split(self.help or "", maxsplit=1)[0]
        if self.is_flag:
            return f"--[no-]{self.opts[0][2:]}", text + (" [on]" if self.default else "")
        values = "|".join(self.type.choices) if isinstance(self.type, click.Choice) else _VALUES[self.type.name]
        default = f"{self.default:g}" if isinstance(self.default, float) else self.default
        return f"{self.opts[0]} {values}", text + (f" [{default}]" if self.default else "")

    def get_error_hint(self, ctx: click.Context | None) -> str:
        if ctx is None or ctx.get_parameter_source(self.name) in (None, ParameterSource.COMMANDLINE):
            return super().get_error_hint(ctx)
        return source_of(ctx, self)


def options_of(config: type[Any]) -> list[OptionOfField]:
    """One flag for each field that a command line shows."""
    hints = typing.get_type_hints(config)
    shown = [field for field in dataclasses.fields(config) if field.metadata.get("flag")]
    return [OptionOfField(field, hints[field.name]) for field in shown]


def from_environment(config: type[Any]) -> dict[str, Any]:
    """The options that variables set, checked, by the names of their fields: for programs without a command line.

    Raises:
        ValueError: naming the variable, its value and what would do.
    """
    options: list[click.Parameter] = [*options_of(config)]
    try:
        ctx = click.Command("esg", params=options).make_context("esg", [])
    except click.UsageError as error:
        raise ValueError(error.format_message()) from None
    names = [option.name or "" for option in options]
    return {name: ctx.params[name] for name in names if ctx.get_parameter_source(name) is ParameterSource.ENVIRONMENT}


def source_of(ctx: click.Context, param: click.Parameter) -> str:
    """Who has set an option: a flag, a variable, a file, or nobody."""
    source = ctx.get_parameter_source(param.name or "")
    sources = ctx.ensure_object(Sources)
    if source is ParameterSource.COMMANDLINE:
        return param.opts[0] if isinstance(param, click.Option) else "argument"
    if source is ParameterSource.ENVIRONMENT:
        name = _variable(param)
        return f"{name} in {sources.env_file}" if name in sources.env_names else f"${name}"
    if source is ParameterSource.DEFAULT_MAP:
        return f"{param.name} in {sources.file}"
    return "default"


def without_words(args: list[str], options: list[click.Parameter]) -> list[str]:
    """Arguments in which no switch has a word for its value: ``--access-log off`` is ``--no-access-log``."""
    switches = {option.opts[0]: option.secondary_opts[0] for option in options if option.secondary_opts}
    plain: list[str] = []
    for place, arg in enumerate(args):
        if arg == "--":
            return plain + args[place:]
        flag, equals, word = arg.partition("=")
        if flag in switches and word in WORDS:
            plain.append(flag if WORDS[word] else switches[flag])
        elif arg in WORDS and plain and args[place - 1] in switches:
            plain[-1] = plain[-1] if WORDS[arg] else switches[plain[-1]]
        else:
            plain.append(arg)
    return plain


def _variable(param: click.Parameter) -> str:
    """The variable that an option was read from."""
    names = variables_of(param)
    return next((name for name in names if os.environ.get(name)), names[0])


def variables_of(param: click.Parameter) -> list[str]:
    """The variables that an option is read from, the first that is set."""
    return [param.envvar] if isinstance(param.envvar, str) else list(param.envvar or ())


def _kinds(hint: Any) -> tuple[type, type]:
    """The types of one value and of the field: ``int`` and ``int`` for ``int | None``; ``str`` and ``tuple``."""
    if isinstance(hint, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
        hint = str if str in kinds else kinds[0]
    return (typing.get_args(hint)[0], tuple) if typing.get_origin(hint) is tuple else (hint, hint)


def _param_type(field: dataclasses.Field[Any], kind: type) -> Any:
    choices = field.metadata["choices"]
    return click.Choice(choices, case_sensitive=False) if choices else kind
