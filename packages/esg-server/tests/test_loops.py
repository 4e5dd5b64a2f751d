"""The event loops that run a server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from esg import loops
from esg.config import Config, StartupError

LOOP = """
import asyncio

class Loop(asyncio.SelectorEventLoop):
    pass

word = "loop"

def number():
    return 7

def broken():
    raise OSError("no more descriptors")
"""


def kind_of(loop: str) -> type[asyncio.AbstractEventLoop]:
    """The class of the event loop that runs."""
    kinds = []

    async def main() -> None:
        kinds.append(type(asyncio.get_running_loop()))

    loops.run(main(), loop, ".")
    return kinds[0]


def test_loops_by_name() -> None:
    uvloop = pytest.importorskip("uvloop")
    assert kind_of("auto") is kind_of("uvloop") is uvloop.Loop
    assert issubclass(kind_of("asyncio"), asyncio.SelectorEventLoop)


def test_auto_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert issubclass(kind_of("auto"), asyncio.SelectorEventLoop)


@pytest.mark.parametrize(("name", "install"), [("uvloop", "esg-server[standard]"), ("zuvloop", "zuvloop")])
def test_not_installed(name: str, install: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StartupError) as caught:
        kind_of(name)
    assert str(caught.value) == f"--loop {name}: {name} is not installed; try pip install {install}"


def test_loop_of_the_users_own(project: Callable[..., Path]) -> None:
    project(mine=LOOP)
    assert kind_of("mine:Loop").__name__ == "Loop"
    with pytest.raises(StartupError, match=r"there is no module 'min' in .*; did you mean 'mine:Loop'"):
        kind_of("min:Loop")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("word", "'loop' cannot be called, so it makes no event loop"),
        ("number", "7 comes out, which is no event loop"),
        ("broken", "its code raised OSError: no more descriptors"),
    ],
)
def test_what_makes_no_loop(name: str, reason: str, project: Callable[..., Path]) -> None:
    """Nor is there a warning of a coroutine that was never awaited."""
    project(mine=LOOP)
    with pytest.raises(StartupError) as caught:
        kind_of(f"mine:{name}")
    assert str(caught.value) == f"--loop mine:{name}: {reason}"


def test_none_is_that_of_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loop(asyncio.SelectorEventLoop):
        pass

    monkeypatch.setattr(asyncio.get_event_loop_policy(), "new_event_loop", Loop)
    assert kind_of("none") is Loop
    assert kind_of("asyncio") is not Loop


@pytest.mark.parametrize("loop", ["asyncio", "none"])
def test_nothing_is_left_running(loop: str) -> None:
    """Neither tasks nor asynchronous generators nor the loop itself."""
    over: list[str] = []
    found: list[asyncio.AbstractEventLoop] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            over.append("task")

    async def main() -> None:
        found.append(asyncio.get_running_loop())
        task = asyncio.ensure_future(forever())
        await asyncio.sleep(0)
        found.append(task.get_loop())
        raise ValueError("out")

    with pytest.raises(ValueError, match="out"):
        loops.run(main(), loop)
    assert over == ["task"]
    assert all(loop.is_closed() for loop in found)


@pytest.mark.parametrize("word", ["trio", "", "uvlop"])
def test_words_that_are_none(word: str) -> None:
    with pytest.raises(ValueError, match=f"^loop: '{word}' is not one of auto, asyncio, uvloop"):
        Config("x:y", loop=word)
