from __future__ import annotations

import functools
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from esg import interfaces
from esg.app import import_target, make_app, own_traceback
from esg.config import StartupError

Project = Callable[..., Path]


async def asgi3(scope: Any, receive: Any, send: Any) -> None:
    """An application."""


class Instance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """An application."""


class ASGI2:
    def __init__(self, scope: Any) -> None:
        self.scope = scope

    async def __call__(self, receive: Any, send: Any) -> None:
        """The second call."""


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


async def async_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


class AsyncASGI2:
    async def __call__(self, scope: Any) -> Any:
        """What no server of any kind calls."""


class WSGI:
    def __init__(self, environ: Any, start_response: Any) -> None:
        """What PEP 3333 calls an application that is a class."""

    def __iter__(self) -> Any:
        yield b""


class MethodOfWSGI:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


async def async_factory() -> Any:
    return asgi3


class TestImport:
    def test_attribute(self, project: Project) -> None:
        folder = project(example="app = object()")
        assert import_target("example:app", str(folder)) is sys.modules["example"].app

    def test_dotted_attribute(self, project: Project) -> None:
        folder = project(example="class Site: app = 1")
        assert import_target("example:Site.app", str(folder)) == 1

    def test_puts_the_folder_first_once(self, project: Project) -> None:
        folder = project(example="app = other = 1")
        import_target("example:app", str(folder))
        import_target("example:other", ".")
        assert sys.path[0] == str(folder)
        assert sys.path.count(str(folder)) == 1

    def test_leaves_the_path_alone(self, project: Project) -> None:
        before = sys.path[:]
        import_target("json:loads", None)
        assert sys.path == before

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("example", "'example' names no application: write it as module:attribute, as in example:app"),
            ("example:", "'example:' names no application: write it as module:attribute, as in example:app"),
            (":app", "':app' names no application: write it as module:attribute"),
            (
                "example.py:app",
                "Cannot import 'example.py:app': write a module, not a file, as in example:app",
            ),
            ("./a/b.py:app", "Cannot import './a/b.py:app': write a module, not a file, as in a.b:app"),
            ("a/b.py:app", "Cannot import 'a/b.py:app': write a module, not a file, as in a.b:app"),
            ("./a/b.py", "'./a/b.py' names no application: write it as module:attribute, as in a.b:app"),
            ("exmaple:app", "there is no module 'exmaple' in {folder}; did you mean 'example:app'?"),
            ("zzz:app", "Cannot import 'zzz:app': there is no module 'zzz' in {folder}"),
            ("example:ap", "module 'example' has no attribute 'ap'; did you mean 'example:app'?"),
            ("example:zzz", "Cannot import 'example:zzz': module 'example' has no attribute 'zzz'"),
            ("example:Site.ap", "has no attribute 'ap'; did you mean 'example:Site.app'?"),
            ("example:Sit.app", "has no attribute 'Sit'; did you mean 'example:Site.app'?"),
            ("json.decodr:x", "there is no module 'json.decodr'; did you mean 'json.decoder:x'?"),
            ("example.sub:app", "Cannot import 'example.sub:app': there is no module 'example.sub'"),
        ],
    )
    def test_names_the_nearest_right_thing(self, project: Project, target: str, message: str) -> None:
        folder = project(example="app = 1\nclass Site: app = 1")
        with pytest.raises(StartupError) as caught:
            import_target(target, str(folder))
        assert str(caught.value).endswith(message.format(folder=folder))
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        ("source", "kind"),
        [
            ("import no_such_library", ModuleNotFoundError),
            ("from json import no_such_name", ImportError),
            ("1 / 0", ZeroDivisionError),
            ("raise AttributeError('app')", AttributeError),
        ],
    )
    def test_errors_of_the_module_are_its_own(self, project: Project, source: str, kind: type) -> None:
        folder = project(example=source)
        with pytest.raises(StartupError, match="^Cannot import 'example:app', its code raised") as caught:
            import_target("example:app", str(folder))
        cause = caught.value.__cause__
        assert cause is not None and type(cause) is kind
        (frame,) = traceback.extract_tb(own_traceback(cause))
        assert frame.filename == str(folder / "example.py")

    def test_syntax_error(self, project: Project) -> None:
        folder = project(example="app = (")
        with pytest.raises(StartupError, match="its code raised SyntaxError") as caught:
            import_target("example:app", str(folder))
        assert isinstance(caught.value.__cause__, SyntaxError)


class TestMakeApp:
    @pytest.mark.parametrize("app", [asgi3, Instance(), functools.partial(asgi3), lambda *args: asgi3(*args), min])
    def test_asgi3(self, app: Any, caplog: pytest.LogCaptureFixture) -> None:
        assert make_app(app) is app
        assert not caplog.records

    @pytest.mark.parametrize("app", [ASGI2, lambda scope: ASGI2(scope)])
    def test_asgi2(self, app: Any) -> None:
        assert isinstance(make_app(app), interfaces.ASGI2)

    @pytest.mark.parametrize("app", [wsgi, WSGI, MethodOfWSGI(), functools.partial(wsgi)])
    def test_wsgi(self, app: Any) -> None:
        pytest.importorskip("a2wsgi")
        assert isinstance(make_app(app), interfaces.WSGI)
        assert isinstance(make_app(lambda: app, factory=True), interfaces.WSGI)

    def test_wsgi_without_a2wsgi(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "a2wsgi", None)
        with pytest.raises(StartupError) as caught:
            make_app(wsgi, name="x:app")
        expected = "'x:app' is a WSGI application, which needs a2wsgi; try pip install a2wsgi"
        assert str(caught.value) == expected

    def test_what_it_is_can_be_said(self) -> None:
        # Nobody sees what these take.
        assert isinstance(make_app(lambda *args: wsgi(*args), interface="asgi2"), interfaces.ASGI2)
        assert make_app(wsgi, interface="asgi3") is wsgi
        pytest.importorskip("a2wsgi")
        assert isinstance(make_app(lambda *args: wsgi(*args), interface="wsgi"), interfaces.WSGI)

    @pytest.mark.parametrize("factory", [lambda: asgi3, Instance, functools.partial(lambda app: app, asgi3)])
    def test_factory(self, factory: Any, caplog: pytest.LogCaptureFixture) -> None:
        assert callable(make_app(factory, factory=True))
        assert not caplog.records

    def test_factory_is_recognised(self, caplog: pytest.LogCaptureFixture) -> None:
        assert make_app(lambda: asgi3, name="example:create") is asgi3
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "'example:create' is an application factory" in record.getMessage()
        assert "--factory" in record.getMessage()

    def test_class_of_an_app_is_a_factory(self, caplog: pytest.LogCaptureFixture) -> None:
        assert isinstance(make_app(Instance), Instance)

    @pytest.mark.parametrize(
        ("app", "message"),
        [
            ({}, "'x:app' is no application: 'dict' objects cannot be called"),
            (lambda a, b, c, d: None, "'x:app' is no application: it cannot be called with scope, receive"),
            (async_wsgi, "'x:app' is no application: it cannot be called with scope, receive"),
            (AsyncASGI2(), "'x:app' is no application: it cannot be called with scope, receive"),
        ],
    )
    def test_no_application(self, app: Any, message: str) -> None:
        with pytest.raises(StartupError) as caught:
            make_app(app, name="x:app")
        assert str(caught.value).startswith(message)

    @pytest.mark.parametrize(
        ("factory", "message"),
        [
            (asgi3, "'x:app' is no application factory: it cannot be called without arguments"),
            (3, "'x:app' is no application factory: it cannot be called without arguments"),
            (lambda: 3, "'x:app' is no application: 'int' objects cannot be called"),
            (
                async_factory,
                "The application factory 'x:app' is a coroutine function: write it without async",
            ),
        ],
    )
    def test_not_a_factory(self, factory: Any, message: str) -> None:
        with pytest.raises(StartupError) as caught:
            make_app(factory, factory=True, name="x:app")
        assert str(caught.value).startswith(message)

    def test_factory_raises(self) -> None:
        def create() -> Any:
            raise KeyError("DATABASE_URL")

        with pytest.raises(StartupError, match="raised KeyError: 'DATABASE_URL'") as caught:
            make_app(create, factory=True)
        cause = caught.value.__cause__
        assert cause is not None
        (frame,) = traceback.extract_tb(own_traceback(cause))
        assert frame.name == "create"


def test_app_dir_that_is_not_there(project: Project) -> None:
    (project(example="") / "sources").mkdir()
    with pytest.raises(StartupError, match="^--app-dir: there is no directory 'source'; did you mean 'sources'"):
        import_target("example:app", "source")
