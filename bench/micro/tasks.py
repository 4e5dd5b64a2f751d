"""An app that never waits, in an eager task (CPython 3.12 and later) and in a task that waits for a turn of the loop.

Run: python -m bench.micro.tasks
"""

from __future__ import annotations

import asyncio
import time
from statistics import median

TASKS = 2_000
ROUNDS = 15


async def app() -> None:
    return None


async def eager(loop: asyncio.AbstractEventLoop) -> float:
    start = time.process_time()
    for _ in range(TASKS):
        asyncio.Task(app(), loop=loop, eager_start=True)
    return time.process_time() - start


async def plain(loop: asyncio.AbstractEventLoop) -> float:
    start = time.process_time()
    for _ in range(TASKS):
        # One task a turn, as when each comes with a read of its own.
        await asyncio.Task(app(), loop=loop)
    return time.process_time() - start


async def main() -> None:
    loop = asyncio.get_running_loop()
    times = [(await eager(loop), await plain(loop)) for _ in range(ROUNDS)]
    for at, name in enumerate(("eager task", "task and a turn of the loop")):
        print(f"{name:48} {median(pair[at] for pair in times) / TASKS * 1e9:10.0f} ns")
    print(f"{'ratio':48} {median(one / other for one, other in times):10.2f}")


if __name__ == "__main__":
    asyncio.run(main())
