"""Awaiting a ``send`` that need not wait: the shared awaitable of the protocols, against a coroutine function.

Run: python -m bench.micro.awaitables
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from esg_protocols.asgi.http import Done

from bench.micro.compare import compare

AWAITS = 100
done = Done()


async def coroutine_function() -> None:
    return None


def shared() -> Any:
    return done


def awaiting(make: Callable[[], Any]) -> Callable[[], object]:
    async def many() -> None:
        for _ in range(AWAITS):
            await make()

    def drive() -> None:
        try:
            many().send(None)
        except StopIteration:
            return

    return drive


async def main() -> None:
    print(f"{AWAITS} awaits each")
    compare(("shared awaitable", awaiting(shared)), ("coroutine function", awaiting(coroutine_function)), 2_000)


if __name__ == "__main__":
    asyncio.run(main())
