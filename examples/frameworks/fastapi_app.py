"""The application of ``starlette_app``, in FastAPI: types describe what comes in, the rest follows.

$ pip install fastapi python-multipart
$ esg examples.frameworks.fastapi_app:app
"""

import contextlib
from typing import Annotated

from fastapi import BackgroundTasks, FastAPI, Form, Request, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel


class Number(BaseModel):
    """What ``/double`` takes."""

    number: int


class OutOfStock(Exception):
    """Nothing left of what was asked for."""


@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"sent": []}


app = FastAPI(lifespan=lifespan)


@app.post("/double")
async def double(body: Number):
    """JSON in, JSON out; anything but a number is answered with 422."""
    return {"double": 2 * body.number}


@app.post("/upload")
async def upload(title: Annotated[str, Form()], file: UploadFile):
    """A form with a field and a file."""
    return {"title": title, "name": file.filename, "size": len(await file.read())}


@app.get("/countdown/{start}")
async def countdown(start: int):
    """A body that is made while it is sent."""
    return StreamingResponse((f"{number}\n" for number in range(start, 0, -1)), media_type="text/plain")


@app.post("/notify/{address}", status_code=202)
def notify(address: str, request: Request, background: BackgroundTasks):
    """Answer at once, do the work afterwards. Not async, so FastAPI calls it in a thread."""
    background.add_task(request.state.sent.append, address)
    return "accepted"


@app.get("/sent")
async def sent(request: Request):
    """What the background tasks have done."""
    return request.state.sent


@app.get("/buy")
async def buy():
    """Raise what ``out_of_stock`` handles."""
    raise OutOfStock


@app.get("/broken")
async def broken():
    """Raise what nothing handles: a plain 500."""
    raise RuntimeError("broken on purpose")


@app.exception_handler(OutOfStock)
async def out_of_stock(request: Request, error: OutOfStock):
    """The answer to OutOfStock."""
    return JSONResponse({"detail": "out of stock"}, status_code=409)
