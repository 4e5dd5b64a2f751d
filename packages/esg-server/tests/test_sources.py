"""Where options come from: flags, variables, a file of variables, a file of configuration, and who goes first."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import esg
import esg.start
import pytest
from click.testing import CliRunner, Result
from esg.cli import main
from esg.config import Config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HELLO = "async def app(scope, receive, send): ..."


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory; variables that are set meanwhile are forgotten."""
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ):
        yield tmp_path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that would have been served."""
    configs: list[Config] = []
    monkeypatch.setattr(esg.start, "run_config", configs.append)
    return configs


def call(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, arguments, env=env, prog_name="esg")


def refusal(*arguments: str, **env: str) -> str:
    """The one line with which a command line is refused."""
    result = call(*arguments, **env)
    assert result.exit_code == 2, result.output
    assert result.output.count("\n") == 1 and result.output.startswith("Error: "), result.output
    return result.output[len("Error: ") : -1]


# -- Files of configuration


def test_file_named_by_flag_or_variable(folder: Path, served: list[Config]) -> None:
    (folder / "esg.toml").write_text('app = "x:y"\nport = 9\naccess-log = false\ntimeout_keep_alive = 7\n')
    expected = Config("x:y", port=9, access_log=False, timeout_keep_alive=7)
    assert call("--config", "esg.toml").exit_code == 0
    assert call(ESG_CONFIG="esg.toml").exit_code == 0
    assert served == [expected, expected]


def test_pyproject_of_the_working_directory(folder: Path, served: list[Config]) -> None:
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.esg]\napp = "x:y"\nport = 9\n')
    (folder / "other.toml").write_text('app = "x:z"\n')
    assert call().exit_code == 0
    assert call("--config", "pyproject.toml", "--port", "1").exit_code == 0
    assert call("--config", "other.toml").exit_code == 0
    assert served == [Config("x:y", port=9), Config("x:y", port=1), Config("x:z")]


@pytest.mark.parametrize("text", ["[tool]\nesg = {port = 9}", "[ tool . 'esg' ]\nport = 9", 'tool."esg".port = 9'])
def test_table_of_pyproject_however_it_is_spelled(text: str, folder: Path, served: list[Config]) -> None:
    (folder / "pyproject.toml").write_text(text)
    assert call("x:y").exit_code == 0
    assert served == [Config("x:y", port=9)]


@pytest.mark.parametrize("text", ["", '[project]\nname = "esg"\n', "[tool.ruff]\n"])
def test_pyproject_without_our_table(text: str, folder: Path, served: list[Config]) -> None:
    (folder / "pyproject.toml").write_text(text)
    assert call("x:y").exit_code == 0
    assert served == [Config("x:y")]
    assert refusal("--config", "pyproject.toml", "x:y").endswith("pyproject.toml has no table [tool.esg]")


def test_flag_then_variable_then_file_then_default(folder: Path, served: list[Config]) -> None:
    (folder / "esg.toml").write_text("port = 1\nbacklog = 1\nlimit_header_count = 1\n")
    env = {"ESG_CONFIG": "esg.toml", "ESG_PORT": "2", "ESG_BACKLOG": "2"}
    assert call("--port", "3", "x:y", **env).exit_code == 0
    assert served == [Config("x:y", port=3, backlog=2, limit_header_count=1)]


def test_several_values(folder: Path, served: list[Config]) -> None:
    expected = Config("x:y", bind=("127.0.0.1:1", "[::1]:1"))
    (folder / "list.toml").write_text('bind = ["127.0.0.1:1", "[::1]:1"]')
    (folder / "one.toml").write_text('bind = "127.0.0.1:1"')
    assert call("--config", "list.toml", "x:y").exit_code == 0
    assert call("x:y", ESG_BIND=" 127.0.0.1:1\n\t[::1]:1 ").exit_code == 0
    assert call("--bind", "127.0.0.1:1", "--bind", "[::1]:1", "x:y", ESG_BIND=":2").exit_code == 0
    assert call("--config", "one.toml", "x:y").exit_code == 0
    assert served == [expected, expected, expected, Config("x:y", bind=("127.0.0.1:1",))]


def test_several_values_that_hold_blanks(served: list[Config]) -> None:
    lines = "X-One: a, b\nX-Two: c d\n"
    assert call("x:y", ESG_HEADERS=lines, ESG_SSL_CERTFILE=os.pathsep.join(["my a.pem", "b.pem"])).exit_code == 0
    assert served[0].headers == ("X-One: a, b", "X-Two: c d")
    assert served[0].ssl_certfile == ("my a.pem", "b.pem")


def test_table_of_a_log_configuration(folder: Path, served: list[Config]) -> None:
    (folder / "esg.toml").write_text("[log_config]\nversion = 1\n")
    assert call("--config", "esg.toml", "x:y").exit_code == 0
    assert served[0].log_config == {"version": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "--config: {} has 'prot', which is no option; did you mean 'port'?"),
        ("[tool.esg]", "--config: {} has 'tool', which is no option; options stand above all tables"),
        ("config = 'x'", "--config: {} has 'config', which is no option"),
        ("port = 1\nport = 2", "--config: {} is not TOML: Cannot overwrite a value"),
        ("log-level = 'info'\nlog_level = 'info'", "--config: {} has log_level twice"),
        ("port = '80'", "Invalid value for port in {}: '80' is not an integer; write port = 80"),
        ("port = true", "Invalid value for port in {}: True is not an integer"),
        ("port = 1.5", "Invalid value for port in {}: 1.5 is not an integer"),
        ("port = 70000", "Invalid value for port in {}: 70000 is not a port, it must be 0 to 65535"),
        ("port = [1]", "Invalid value for port in {}: [1] is not an integer"),
        ("factory = 'no'", "Invalid value for factory in {}: 'no' is not true or false; write factory = false"),
        ("access_log = 1", "Invalid value for access_log in {}: 1 is not true or false; write access_log = true"),
        ("timeout_write = 'x'", "Invalid value for timeout_write in {}: 'x' is not a number"),
        ("timeout_write = -1", "Invalid value for timeout_write in {}: -1.0 is too small, it must be 0 or more"),
        ("app = 1", "Invalid value for app in {}: 1 is not a string"),
        ("host = 1", "Invalid value for host in {}: 1 is not a string; write host = \"1\""),
        ("bind = [1]", "Invalid value for bind in {}: [1] is not a list of strings"),
        ("lifespan = 'no'", "Invalid value for lifespan in {}: 'no' is not one of 'auto', 'on', 'off'."),
        ("loop = 'auto", "--config: {} is not TOML: "),
    ],
)  # fmt: skip
def test_mistake_in_a_file(text: str, message: str, folder: Path) -> None:
    (folder / "esg.toml").write_text(text)
    assert refusal("--config", "esg.toml", "x:y").startswith(message.format("esg.toml"))


def test_mistake_in_pyproject(folder: Path) -> None:
    path = folder / "pyproject.toml"
    path.write_text("[tool.esg]\nprot = 1\n")
    assert "[tool.esg] of pyproject.toml has 'prot', which is no option; did you mean 'port'?" in refusal("x:y")
    path.write_text("[tool.esg]\nport = 70000\n")
    assert refusal("x:y").startswith("Invalid value for port in [tool.esg] of pyproject.toml: 70000")
    path.write_text("[tool]\nesg = 1\n")
    assert refusal("x:y").endswith("tool.esg of pyproject.toml is not a table")
    path.write_bytes(b"[tool.esg]\nhost = '\xff'\n")
    assert "pyproject.toml is not TOML" in refusal("x:y")


def test_file_that_is_not_there(folder: Path) -> None:
    (folder / "esg.toml").touch()
    assert "there is no file 'egs.toml'; did you mean 'esg.toml'?" in refusal("--config", "egs.toml", "x:y")
    assert refusal("x:y", ESG_CONFIG="no/esg.toml").startswith("$ESG_CONFIG: there is no directory")
    assert "cannot read .: Is a directory" in refusal("--config", ".", "x:y")


# -- Files of variables


def test_env_file_sets_options_and_what_the_app_reads(folder: Path, served: list[Config]) -> None:
    (folder / ".env").write_text("ESG_APP=x:y\nESG_PORT=9\nDATABASE='a b'\nTAKEN=new\n")
    os.environ["TAKEN"] = "old"
    assert call("--env-file", ".env").exit_code == 0
    assert served == [Config("x:y", port=9, env_file=".env")]
    assert os.environ["DATABASE"] == "a b"
    assert os.environ["TAKEN"] == "old"


def test_env_file_names_the_file_of_configuration(folder: Path, served: list[Config]) -> None:
    (folder / ".env").write_text("ESG_CONFIG=esg.toml\nESG_BACKLOG=2\n")
    (folder / "esg.toml").write_text("port = 9\nbacklog = 1\n")
    assert call("--env-file", ".env", "x:y").exit_code == 0
    assert served == [Config("x:y", port=9, backlog=2, env_file=".env")]


@pytest.mark.parametrize("arguments", [[], ["--config", "esg.toml"], ["--config", "pyproject.toml"]])
def test_env_file_named_by_the_file_of_configuration(arguments: list[str], folder: Path, served: list[Config]) -> None:
    (folder / ".env").write_text("ESG_PORT=9\n")
    (folder / "other.env").write_text("ESG_PORT=10\n")
    (folder / "esg.toml").write_text('env_file = ".env"\n')
    (folder / "pyproject.toml").write_text('[tool.esg]\nenv_file = ".env"\n')
    assert call(*arguments, "x:y").exit_code == 0
    del os.environ["ESG_PORT"]
    assert call("--env-file", "other.env", *arguments, "x:y").exit_code == 0
    del os.environ["ESG_PORT"]
    assert call("x:y", ESG_CONFIG="esg.toml").exit_code == 0
    assert served == [
        Config("x:y", port=port, env_file=name) for port, name in ((9, ".env"), (10, "other.env"), (9, ".env"))
    ]


def test_env_file_named_by_a_variable(folder: Path, served: list[Config]) -> None:
    (folder / ".env").write_text("ESG_CONFIG=esg.toml\n")
    (folder / "esg.toml").write_text("port = 9\n")
    assert call("x:y", ESG_ENV_FILE=".env").exit_code == 0
    assert served == [Config("x:y", port=9, env_file=".env")]


@pytest.mark.parametrize("option", ["--config", "--env-file"])
def test_an_empty_name_is_no_file(option: str, folder: Path) -> None:
    """As where a shell's variable is not set: what was to be read must not be left out in silence."""
    assert refusal(option, "", "x:y") == f"{option}: there is no file ''"


def test_env_file_is_read_once(folder: Path, served: list[Config], caplog: pytest.LogCaptureFixture) -> None:
    """It may be a pipe. What python-dotenv says of a line that is none tells how often it has read."""
    (folder / ".env").write_text("NO LINE\nESG_PORT=9\n")
    assert call("--env-file", ".env", "x:y").exit_code == 0
    assert served[0].port == 9
    assert len(caplog.records) == 1


def test_env_file_from_python(folder: Path) -> None:
    (folder / ".env").write_text("DATABASE=x\n")
    esg.Config("x:y", env_file=".env")
    assert os.environ["DATABASE"] == "x"
    with pytest.raises(ValueError, match=r"^env_file: there is no file 'env'; did you mean '\.env'\?"):
        esg.Config("x:y", env_file="env")


def test_mistakes_in_env_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("ESG_PORT=99999\n")
    assert refusal("--env-file", ".env", "x:y").startswith("Invalid value for ESG_PORT in .env: 99999 is not a port")
    assert "--env-file: there is no file 'env'; did you mean '.env'?" in refusal("--env-file", "env", "x:y")
    monkeypatch.setitem(sys.modules, "dotenv", None)
    assert "python-dotenv is not installed; try pip install esg-server[standard]" in refusal(
        "--env-file", ".env", "x:y"
    )


# -- Variables of platforms


def test_variable_of_a_platform(served: list[Config]) -> None:
    assert call("x:y", FORWARDED_ALLOW_IPS="10.0.0.1").exit_code == 0
    assert call("x:y", FORWARDED_ALLOW_IPS="10.0.0.1", ESG_FORWARDED_ALLOW_IPS="10.0.0.2").exit_code == 0
    assert call("--forwarded-allow-ips", "10.0.0.3", "x:y", FORWARDED_ALLOW_IPS="10.0.0.1").exit_code == 0
    assert [config.forwarded_allow_ips for config in served] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert call("x:y", WEB_CONCURRENCY="3").exit_code == 0
    assert served[-1].workers == 3
    assert refusal("x:y", WEB_CONCURRENCY="0").startswith("Invalid value for $WEB_CONCURRENCY: 0 is not from 1 to 1024")
    assert refusal("x:y", FORWARDED_ALLOW_IPS="here").startswith(
        "Invalid value for $FORWARDED_ALLOW_IPS: 'here' is not"
    )


def test_variable_of_a_platform_from_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    assert esg.Config("x:y").forwarded_allow_ips == "10.0.0.1"
    assert esg.Config("x:y", forwarded_allow_ips="10.0.0.2").forwarded_allow_ips == "10.0.0.2"
    monkeypatch.setenv("WEB_CONCURRENCY", "")
    assert esg.Config("x:y").workers == 1
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert esg.Config("x:y").workers == 3
    assert esg.Config("x:y", workers=2).workers == 2
    monkeypatch.setenv("WEB_CONCURRENCY", "many")
    with pytest.raises(ValueError, match=r"^\$WEB_CONCURRENCY: 'many' is not an integer"):
        esg.Config("x:y")


# -- esg --check


def test_check_says_where_each_value_comes_from(
    folder: Path, project: Callable[..., Path], served: list[Config]
) -> None:
    project(hello=HELLO)
    (folder / ".env").write_text("ESG_BACKLOG=5\n")
    (folder / "esg.toml").write_text('root_path = "/a"\n')
    result = call(
        "--check",
        "--config",
        "esg.toml",
        "--env-file",
        ".env",
        "--port",
        "9",
        "hello:app",
        ESG_FD="7",
        ESG_SSL_KEYFILE_PASSWORD="s3cret",
    )
    assert result.exit_code == 0, result.output
    said = {line.partition("  #")[0].strip(): line.partition("  # ")[2] for line in result.stdout.splitlines()}
    assert said['app = "hello:app"'] == "argument"
    assert said["port = 9"] == "--port"
    assert said["fd = 7"] == "$ESG_FD"
    assert said["backlog = 5"] == "ESG_BACKLOG in .env"
    assert said['root_path = "/a"'] == "root_path in esg.toml"
    assert said['host = "127.0.0.1"'] == "default"
    assert said["# uds is not set"] == "default"
    assert said["# ssl_keyfile_password is set"] == "$ESG_SSL_KEYFILE_PASSWORD"
    assert "s3cret" not in result.output
    assert not served


def test_check_names_variables_that_are_no_options(project: Callable[..., Path]) -> None:
    project(hello=HELLO)
    said = call("--check", "hello:app", ESG_PROT="9", ESG_PORT="9", ESG_APP="x:y").stdout.splitlines()
    assert said[-1] == "# $ESG_PROT is no option; did you mean 'ESG_PORT'?"
    assert not [line for line in said[:-1] if line.startswith("# $")]


def test_what_check_prints_is_a_file_of_configuration(
    folder: Path, project: Callable[..., Path], served: list[Config]
) -> None:
    project(hello=HELLO)
    options = [
        "--bind",
        ":1",
        "--bind",
        "unix:a b",
        "--no-access-log",
        "--timeout-write",
        "2.5",
        "--env-file",
        'é"\x7f\\',
    ]
    (folder / options[-1]).touch()
    result = call("--check", *options, "hello:app")
    (folder / "esg.toml").write_text(result.stdout, encoding="utf-8")
    assert tomllib.loads(result.stdout)["bind"] == [":1", "unix:a b"]
    assert call("--config", "esg.toml").exit_code == call(*options, "hello:app").exit_code == 0
    assert served[0] == served[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["helo:app"], "there is no module 'helo'"),
        (["hello:ap"], "did you mean 'hello:app'?"),
        (["fails:app"], "its code raised ZeroDivisionError: division by zero"),
        (["--factory", "hello:create"], "raised OSError: no disk"),
        (["--log-config", "no.json", "hello:app"], "no.json"),
    ],
)
def test_check_of_what_cannot_be_served(
    arguments: list[str], message: str, project: Callable[..., Path], served: list[Config]
) -> None:
    project(hello=HELLO + "\ndef create(): raise OSError('no disk')", fails="1 / 0")
    result = call("--check", *arguments)
    assert result.exit_code == 3
    assert message in result.stderr
    assert result.stdout.startswith("app = ")
    assert not served


def test_check_runs_no_lifespan_and_no_loop_is_left(project: Callable[..., Path]) -> None:
    project(hello="async def app(scope, receive, send): print(scope)\n")
    result = call("--check", "hello:app")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "lifespan'" not in result.stdout
