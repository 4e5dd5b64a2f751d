"""The application of test_app_view: each path looks at what an application is given in its first step."""

import asyncio
import contextvars
import json

import anyio

request_var = contextvars.ContextVar("request_var", default="unset")
lifespan_var = contextvars.ContextVar("lifespan_var", default="unset")


async def lifespan(scope, receive, send):
    lifespan_var.set("set in lifespan")
    await receive()
    scope["state"].update(name="esg", visits=[])
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def current_task(scope, receive):
    """A real task, in its first step and after a wait, and the same one."""
    first = asyncio.current_task()
    await asyncio.sleep(0)
    return [isinstance(first, asyncio.Task), asyncio.current_task() is first]


async def timeout(scope, receive):
    """One that is not needed, and one that ends a receive that would wait for ever."""
    async with asyncio.timeout(10):
        kinds = [(await receive())["type"]]
    try:
        async with asyncio.timeout(0.01):
            await receive()
    except TimeoutError:
        kinds.append("timeout")
    return kinds


async def wait_for(scope, receive):
    kinds = [(await asyncio.wait_for(receive(), 10))["type"]]
    try:
        await asyncio.wait_for(receive(), 0.01)
    except asyncio.TimeoutError:
        kinds.append("timeout")
    return kinds


async def task_group(scope, receive):
    """anyio needs to know the task it runs in."""
    kinds = []

    async def take():
        kinds.append((await receive())["type"])

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        group.start_soon(anyio.sleep, 0)
    with anyio.move_on_after(0.01):
        await receive()
        kinds.append("more than a request")
    return kinds


async def create_task(scope, receive):
    task = asyncio.create_task(receive())
    kinds = [(await task)["type"]]
    other = asyncio.create_task(receive())
    await asyncio.sleep(0)
    other.cancel()
    kinds.append(await asyncio.gather(other, return_exceptions=True) != [])
    return [*kinds, other.cancelled()]


async def is_coroutine(scope, receive):
    first = receive()
    result = [asyncio.iscoroutine(first)]
    return [*result, (await first)["type"]]


async def whole_scope(scope, receive):
    """The scope, with bytes as latin-1, and the types of what stands in it."""
    types = {name: type(value).__name__ for name, value in scope.items()}
    fields = [[type(pair).__name__, *(part.decode("latin-1") for part in pair)] for pair in scope["headers"]]
    texts = {name: value.decode("latin-1") for name, value in scope.items() if isinstance(value, bytes)}
    return {"types": types, "scope": {**scope, **texts, "headers": fields}}


async def context(scope, receive):
    """What the variable held, before this request sets it."""
    before = request_var.get()
    request_var.set(scope["query_string"].decode())
    if scope["query_string"] == b"wait":
        # The next request starts behind this one's end, out of another turn of the loop.
        await asyncio.sleep(0.01)
    else:
        await asyncio.sleep(0)
    return [before, request_var.get(), lifespan_var.get()]


async def state(scope, receive):
    """A copy for each request, of the same things."""
    scope["state"]["visits"].append(1)
    seen = scope["state"]["name"]
    scope["state"]["name"] = "changed by a request"
    return [seen, len(scope["state"]["visits"])]


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    handler = {
        "/current-task": current_task,
        "/timeout": timeout,
        "/wait-for": wait_for,
        "/task-group": task_group,
        "/create-task": create_task,
        "/is-coroutine": is_coroutine,
        "/context": context,
        "/state": state,
    }.get(scope["path"], whole_scope)
    body = json.dumps(await handler(scope, receive)).encode()
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-length", b"%d" % len(body))],
    }
    if scope["query_string"] == b"tasks":
        await asyncio.create_task(send(start))
        await asyncio.gather(send({"type": "http.response.body", "body": body}))
    else:
        await send(start)
        await send({"type": "http.response.body", "body": body})
