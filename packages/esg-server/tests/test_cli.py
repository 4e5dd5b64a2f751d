from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys
from typing import Any

import click
import esg.start
import pytest
from click.testing import CliRunner, Result
from esg.cli import GROUPS, main
from esg.config import Config

FLAGS = {field.name: field for field in dataclasses.fields(Config) if field.metadata.get("flag")}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that would have been served."""
    configs: list[Config] = []
    monkeypatch.setattr(esg.start, "run_config", configs.append)
    return configs


def call(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, arguments, env=env, prog_name="esg")


def flag_of(field: dataclasses.Field[Any]) -> str:
    """One of several values is a flag in the singular: ``headers`` are ``--header``."""
    return "--" + (field.name.removesuffix("s") if field.default == () else field.name).replace("_", "-")


def test_every_field_has_its_flag() -> None:
    options = {param.name: param for param in main.params if isinstance(param, click.Option)}
    assert set(options) - {"version", "config", "check"} == set(FLAGS)
    for name, field in FLAGS.items():
        assert options[name].default == field.default
        assert flag_of(field) in options[name].opts
        assert bool(options[name].secondary_opts) is (isinstance(field.default, bool) or name == "use_colors")
        assert tuple(getattr(options[name].type, "choices", ())) == field.metadata["choices"]


def test_defaults_are_those_of_the_configuration(served: list[Config]) -> None:
    assert call("example:app").exit_code == 0
    assert served == [Config("example:app")]


def test_flags_reach_the_configuration(served: list[Config]) -> None:
    arguments = "--host :: --port 0 --no-access-log --factory --timeout-keep-alive 2.5 --log-level DEBUG x:y"
    assert call(*arguments.split()).exit_code == 0
    expected = Config(
        "x:y", host="::", port=0, access_log=False, factory=True, timeout_keep_alive=2.5, log_level="debug"
    )
    assert served == [expected]


def test_variables_reach_the_configuration(served: list[Config]) -> None:
    result = call(ESG_APP="x:y", ESG_PORT="9", ESG_ACCESS_LOG="false", ESG_LOOP="asyncio", ESG_LIMIT_HEAD_SIZE="999")
    assert result.exit_code == 0, result.output
    assert served == [Config("x:y", port=9, access_log=False, loop="asyncio", limit_head_size=999)]


def test_flag_beats_variable(served: list[Config]) -> None:
    assert call("--port", "1", "x:y", ESG_PORT="2").exit_code == 0
    assert served == [Config("x:y", port=1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "APP is missing, as in: esg example:app"),
        (["--prot", "1", "x:y"], "'--port'"),
        (["--port", "http", "x:y"], "Invalid value for '--port'"),
        (
            ["--port", "70000", "x:y"],
            "Invalid value for '--port': 70000 is not a port, it must be 0 to 65535",
        ),
        (["--backlog", "0", "x:y"], "Invalid value for '--backlog': 0 is not from 1 to 2147483647"),
        (
            ["--loop", "trio", "x:y"],
            "Invalid value for '--loop': 'trio' is not one of auto, asyncio, uvloop, zuvloop, none, nor module:",
        ),
        (["x:y", "z"], "unexpected extra argument"),
    ],
)
def test_usage_errors(arguments: list[str], message: str, served: list[Config]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.count("\n") == 1
    assert not served


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--ws-per-message-deflate", "false"], False),
        (["--ws-per-message-deflate", "true"], True),
        (["--ws-per-message-deflate=off"], False),
        (["--ws-per-message-deflate"], True),
        (["--no-ws-per-message-deflate"], False),
        (["--no-ws-per-message-deflate", "--ws-per-message-deflate", "1"], True),
    ],
)
def test_switch_with_a_word(arguments: list[str], expected: bool, served: list[Config]) -> None:
    assert call(*arguments, "x:y").exit_code == 0
    assert served == [Config("x:y", ws_per_message_deflate=expected)]


def test_words_that_are_no_values_of_switches(served: list[Config]) -> None:
    assert call("--host", "on", "--", "false").exit_code == 0
    assert served == [Config("false", host="on")]


def test_help_is_grouped_and_complete() -> None:
    result = call("--help")
    assert result.exit_code == 0
    titles = [line[:-1] for line in result.output.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == list(GROUPS)
    lines = [line.split() for line in result.output.splitlines() if line.startswith("  --")]
    shown = [words[0].replace("[no-]", "") for words in lines]
    flags = [
        f"--{(name.removesuffix('s') if f.default == () else name).replace('_', '-')}" for name, f in FLAGS.items()
    ]
    assert sorted(shown) == sorted([*flags, "--config", "--check", "--version", "--help"])


def test_help_is_short() -> None:
    said = " ".join(call("--help").output.split())
    assert "--port N Port to listen on [8000]" in said
    assert "--[no-]access-log Log one line for each response [on]" in said
    assert "--lifespan auto|on|off Run the app's startup and shutdown [auto]" in said


def test_version() -> None:
    result = call("--version")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    assert result.output == f"Running esg {esg.__version__} with {python} on {platform.system()}\n"


@pytest.mark.parametrize("module", ["esg", "esg.cli"])
def test_import_is_cheap(module: str) -> None:
    code = f"import sys, {module}; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_package_offers_its_names() -> None:
    assert set(esg.__all__) <= set(dir(esg))
    namespace: dict[str, Any] = {}
    exec("from esg import *", namespace)
    assert namespace["Config"] is Config
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        esg.nothing  # noqa: B018
