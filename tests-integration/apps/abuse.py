"""The application of test_abuse: that of test_wire, and paths that count who comes and who leaves.

``/counted?name-n`` answers once something has happened ``n`` times.
"""

import asyncio
import collections
import gc

from wire import KIB, PATHS, answer, gates, more, note, read_body, start, word_of
from wire import app as app_of_wire

LARGE = 200 * KIB * KIB

counts = collections.Counter()
waiting = []


def count(name, number=1):
    counts[name] += number
    for other, least, future in waiting:
        if counts[other] >= least and not future.done():
            future.set_result(None)


async def counted(scope, receive, send):
    name, _, least = word_of(scope).rpartition("-")
    waiter = name, int(least), asyncio.get_running_loop().create_future()
    waiting.append(waiter)
    count(name, 0)
    await waiter[-1]
    waiting.remove(waiter)
    await answer(send, b"%d" % counts[name])


async def tasks(scope, receive, send):
    """How many tasks there are, the one of this request among them."""
    await answer(send, b"%d" % len(asyncio.all_tasks()))


async def objects(scope, receive, send):
    """How many objects there are that are not garbage."""
    gc.collect()
    await answer(send, b"%d" % len(gc.get_objects()))


async def take(scope, receive, send):
    """Read a body and throw it away; the answer is how large it was."""
    count("take")
    size, message = 0, {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        size += len(message.get("body", b""))
    if message["type"] == "http.disconnect":
        count("left")
        return
    await answer(send, b"%d" % size)


async def give(scope, receive, send):
    """Send 200 MiB and note how much the server took, or wanted to take until the client had gone."""
    sent = 0
    await start(send, headers=[(b"content-length", b"%d" % LARGE)])
    try:
        while sent < LARGE:
            await more(send, bytes(64 * KIB))
            if not sent:
                count("give")
            sent += 64 * KIB
    except OSError:
        count("left")
        raise
    finally:
        if scope["query_string"]:
            note(word_of(scope), sent)


async def hold(scope, receive, send):
    """Answer once the gate is open."""
    count("hold")
    await gates[word_of(scope)].wait()
    await answer(send, b"held")


async def listen(scope, receive, send):
    """Wait for the client to leave."""
    await read_body(receive)
    count("listen")
    await receive()
    count("left")


PATHS |= {
    "/counted": counted,
    "/tasks": tasks,
    "/objects": objects,
    "/take": take,
    "/give": give,
    "/hold": hold,
    "/listen": listen,
}
app = app_of_wire
