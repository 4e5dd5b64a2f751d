"""A Starlette application: JSON, a form with a file, a stream, background work, an error of its own, state.

$ pip install starlette python-multipart
$ esg examples.frameworks.starlette_app:app
"""

import contextlib

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route


class OutOfStock(Exception):
    """Nothing left of what was asked for."""


@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"sent": []}


async def double(request):
    """JSON in, JSON out."""
    number = (await request.json())["number"]
    return JSONResponse({"double": 2 * number})


async def upload(request):
    """A form with a field and a file."""
    async with request.form() as form:
        content = await form["file"].read()
        return JSONResponse({"title": form["title"], "name": form["file"].filename, "size": len(content)})


async def countdown(request):
    """A body that is made while it is sent."""

    async def numbers():
        for number in range(request.path_params["start"], 0, -1):
            yield f"{number}\n"

    return StreamingResponse(numbers(), media_type="text/plain")


async def notify(request):
    """Answer at once, do the work afterwards."""
    address = request.path_params["address"]
    return PlainTextResponse("accepted", 202, background=BackgroundTask(request.state.sent.append, address))


async def sent(request):
    """What the background tasks have done."""
    return JSONResponse(request.state.sent)


async def buy(request):
    """Raise what ``out_of_stock`` handles."""
    raise OutOfStock


async def broken(request):
    """Raise what nothing handles: a plain 500."""
    raise RuntimeError("broken on purpose")


async def out_of_stock(request, error):
    """The answer to OutOfStock."""
    return JSONResponse({"detail": "out of stock"}, status_code=409)


app = Starlette(
    routes=[
        Route("/double", double, methods=["POST"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/countdown/{start:int}", countdown),
        Route("/notify/{address}", notify, methods=["POST"]),
        Route("/sent", sent),
        Route("/buy", buy),
        Route("/broken", broken),
    ],
    exception_handlers={OutOfStock: out_of_stock},
    lifespan=lifespan,
)
